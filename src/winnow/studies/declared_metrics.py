"""Check that a study's runs log its declared metrics."""

from __future__ import annotations

from winnow.comparison.available_metrics import AvailableMetrics
from winnow.config import TrainConfig
from winnow.data import Dataset, Mixture
from winnow.data.sources.records import RecordSource
from winnow.errors import WinnowError
from winnow.metrics.metric_catalog import HELD_OUT_SCORES
from winnow.metrics.metric_names import (
    ALL_ROWS_SLICE,
    ANY_LABEL_SLICE,
    EXTERNAL_GROUP,
    PROBE_GROUP,
    SECONDS,
    TOKENS_SEEN,
    TRAINING_FLOPS,
    kept_slice_name,
    removed_slice_name,
    sanitize_component,
    source_slice_name,
)
from winnow.run.held_out_slices import HELD_OUT_SPLITS
from winnow.run.run_components import RunComponents
from winnow.studies.declared_endpoints import list_specific_scores


def check_declared_metrics(config: TrainConfig, components: RunComponents) -> list[WinnowError]:
    """Return an error for each declared metric that no run logs or that has no direction.

    If a probe's file cannot be read, return no errors, since `check_components` reports unreadable files.
    """
    try:
        choices = list_available_metrics(config, components)
    except WinnowError:
        return []
    study = config.study
    errors = []
    declared_metrics = [("study.primary_metric", study.primary_metric)]
    declared_metrics += [("study.secondary_metrics", name) for name in study.secondary_metrics]
    declared_metrics += [("study.guard_metric", study.guard_metric)]
    declared_metrics += [("study.specificity_metric", name) for name in (study.specificity_metric,) if name is not None]
    for key, name in declared_metrics:
        if error := choices.find_error(name, key):
            errors.append(error)
        elif components.metrics.metric(name).direction is None:
            message = (
                f"expected a metric with a direction, but {name!r} is descriptive: neither higher nor lower is better."
            )
            errors.append(WinnowError(f"{message} Choose another metric.", key))
    return errors


def list_available_metrics(config: TrainConfig, components: RunComponents) -> AvailableMetrics:
    """Return the metrics that a cell logs after training.

    Raises:
        WinnowError: If a probe's file cannot be read.
    """
    scores = {
        PROBE_GROUP: {
            name: [*probe.score_names(), *list_specific_scores(components, name)]
            for name, probe in components.probes.items()
        }
    }
    for split, slices in _list_slices(components).items():
        has_pseudo_likelihood = config.evaluation.pseudo_likelihood_rows is not None and split != "validation"
        scores[split] = {
            name: [
                score
                for score in HELD_OUT_SCORES
                if score != "pseudo_perplexity" or (has_pseudo_likelihood and name == ALL_ROWS_SLICE)
            ]
            for name in slices
        }
    return AvailableMetrics(scores, (SECONDS, TOKENS_SEEN, TRAINING_FLOPS))


def _list_slices(components: RunComponents) -> dict[str, list[str]]:
    """Return the names of the slices, by held-out split."""
    filter_slices = [
        slice_name for name in components.slices for slice_name in (kept_slice_name(name), removed_slice_name(name))
    ]
    slices: dict[str, list[str]] = {
        split: [
            ALL_ROWS_SLICE,
            *_list_source_slices(components.dataset),
            *_list_label_slices(components.dataset),
            *filter_slices,
        ]
        for split in HELD_OUT_SPLITS
    }
    if components.dataset.external:
        slices[EXTERNAL_GROUP] = [ALL_ROWS_SLICE, *map(sanitize_component, components.dataset.external), *filter_slices]
    return slices


def _list_source_slices(dataset: Dataset) -> list[str]:
    """Return one slice name per source, or an empty list if there is only one source."""
    sources = dataset.source.sources if isinstance(dataset.source, Mixture) else {}
    return [source_slice_name(name) for name in sources] if len(sources) > 1 else []


def _list_label_slices(dataset: Dataset) -> list[str]:
    """Return a placeholder for the slices of text labels if a source may have text labels."""
    sources = dataset.source.sources.values() if isinstance(dataset.source, Mixture) else [dataset.source]
    return [ANY_LABEL_SLICE] if any(isinstance(source, RecordSource) and source.label for source in sources) else []
