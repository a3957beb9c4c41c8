"""Which metrics the runs of a study will log, and what is wrong with those that the study declares."""

from __future__ import annotations

from winnow.comparison.metric_choices import MetricChoices
from winnow.config import TrainConfig
from winnow.data import Dataset, Mixture
from winnow.errors import WinnowError
from winnow.metrics.metric_catalog import HELD_OUT_SCORES
from winnow.metrics.metric_names import (
    ALL,
    EXTERNAL,
    PROBE,
    SECONDS,
    TOKENS_SEEN,
    kept_slice_name,
    removed_slice_name,
    sanitize_component,
    source_slice_name,
)
from winnow.run.components import Components
from winnow.run.slices import HELD_OUT


def metric_errors(config: TrainConfig, components: Components) -> list[WinnowError]:
    """Return what is wrong with the declared metrics: names that no run will log, and metrics without a direction.

    A probe whose files cannot be read gives no error here; the check of the files reports it.
    """
    try:
        choices = metric_choices(config, components)
    except WinnowError:
        return []
    study = config.study
    errors = []
    declared = [("study.primary_metric", study.primary_metric)]
    declared += [("study.secondary_metrics", name) for name in study.secondary_metrics]
    for key, name in declared:
        if error := choices.find_error(name, key):
            errors.append(error)
        elif components.metrics.metric(name).direction is None:
            told = f"{name!r} is descriptive: neither a higher nor a lower value is better, so it cannot be tested."
            errors.append(WinnowError(f"{told} Choose a metric with a direction.", key))
    return errors


def metric_choices(config: TrainConfig, components: Components) -> MetricChoices:
    """Return the metrics that a cell will log of its last checkpoint.

    Raises:
        WinnowError: A file of a probe cannot be read.
    """
    scores = {PROBE: {name: probe.score_names() for name, probe in components.probes.items()}}
    for split, slices in _slices(components).items():
        pseudo = config.evaluation.pseudo_rows is not None and split != "validation"
        scores[split] = {
            name: [score for score in HELD_OUT_SCORES if score != "pseudo_perplexity" or (pseudo and name == ALL)]
            for name in slices
        }
    return MetricChoices(scores, (SECONDS, TOKENS_SEEN))


def _slices(components: Components) -> dict[str, list[str]]:
    """Return the slices of each held-out split."""
    by_filter = [name for one in components.slices for name in (kept_slice_name(one), removed_slice_name(one))]
    slices: dict[str, list[str]] = {split: [ALL, *_sources(components.dataset), *by_filter] for split in HELD_OUT}
    if components.dataset.external:
        slices[EXTERNAL] = [ALL, *map(sanitize_component, components.dataset.external), *by_filter]
    return slices


def _sources(dataset: Dataset) -> list[str]:
    """Return the slice of each source; a single source has none."""
    named = dataset.source.sources if isinstance(dataset.source, Mixture) else {}
    return [source_slice_name(name) for name in named] if len(named) > 1 else []
