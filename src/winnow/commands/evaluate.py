"""`winnow evaluate`: scores several models on the same held-out rows, masks and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from winnow.commands.evaluation_results import print_results, save_results
from winnow.commands.model_lookup import ModelReference, load_model, resolve_models
from winnow.config import EvaluateConfig, construct
from winnow.data import Dataset
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter
from winnow.metrics.metric_names import LOSS_METRICS
from winnow.reporting.model_figures import EvaluatedModel
from winnow.run.corpus_loader import load_corpus
from winnow.run.evaluate import Predictor, score_split, summarize_probes
from winnow.run.held_out_slices import HeldOutSplit, apply_filter, build_slice_masks, select_held_out_rows
from winnow.run.run_components import check_store, extract_filters
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import fetch_artifact, iter_metric_histories

if TYPE_CHECKING:
    import pandas as pd

    from winnow.evaluation import Probe


TOKENS_PER_BATCH, MASKED_TOKENS_PER_BATCH = 640, 64
"""Typical numbers of tokens and masked tokens per batch of prompts, used to select the fastest matmul backends."""

MAX_DETAILED_PROMPTS = 12
"""Largest number of prompts for which each prompt of a probe has a separate figure."""


@dataclass(frozen=True)
class EvaluationRows:
    """The held-out rows on which all models are scored.

    Attributes:
        rows: The rows of the held-out split.
        slice_masks: A boolean mask over `rows` for each slice, keyed by slice name.
    """

    rows: pa.Table
    slice_masks: dict[str, npt.NDArray[np.bool_]]


def run_evaluate(config: EvaluateConfig, console: Console) -> Path:
    """Score every model, print the scores, and save tables and figures to files and to the store.

    Returns:
        The folder that contains the results.

    Raises:
        WinnowErrors: If the configuration has errors. All errors are reported before any model is loaded.
    """
    if config.evaluation.validation_only:
        message = "this key only applies to winnow train. Set split=validation instead."
        raise WinnowError(message, "evaluation.validation_only")
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    check_store(store)
    models = resolve_models(config.models, store)
    probes = _build_probes(config, models)
    held_out = _load_held_out(config, models)
    results = []
    for position, model in enumerate(models):
        with console.status(f"scoring {escape(model.label)}"):
            results.append(_score_model(config, model, position, probes, held_out, store))
    print_results(console, results, config.split)
    if held_out is None:
        console.print(
            "No dataset or run was given, so only probes are compared. Add dataset=NAME to score held-out rows."
        )
    folder = save_results(config, store, results)
    console.print(f"Tables and figures: {escape(str(folder))}")
    return folder


def _score_model(
    config: EvaluateConfig,
    model: ModelReference,
    position: int,
    probes: Mapping[str, Probe],
    held_out: EvaluationRows | None,
    store: Store,
) -> EvaluatedModel:
    import torch

    from winnow.evaluation import fill_masks
    from winnow.evaluation.fill_mask import mean_word_probabilities
    from winnow.evaluation.model_structure import list_components, list_modules
    from winnow.training import tokenize, tokenizer_fingerprint
    from winnow.training.forward import numerics

    loaded_model = load_model(model, position)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numerics.configure_numerics(loaded_model.model, device, TOKENS_PER_BATCH, MASKED_TOKENS_PER_BATCH)
    predictor = Predictor(loaded_model.model, loaded_model.tokenizer, device, config.forward)
    scores: dict[str, float] = {}
    if held_out is not None:
        length = min(config.max_length, loaded_model.tokenizer.model_max_length)
        tokens = tokenize(held_out.rows, loaded_model.tokenizer, length, config.output_dir / "cache")
        split = HeldOutSplit(config.split, held_out.rows, held_out.slice_masks, tokens)
        _, scores = score_split(split, predictor, config.evaluation)
    probe_scores = {
        name: probe.run(loaded_model.model, loaded_model.tokenizer, device, forward=config.forward)
        for name, probe in probes.items()
    }
    detailed_probes = [
        probe for probe in probes.values() if sum(cloze.mask_count for cloze in probe.clozes) <= MAX_DETAILED_PROMPTS
    ]
    texts = [cloze.text for probe in detailed_probes for cloze in probe.clozes]
    sentiment_texts = [
        cloze.text for probe in probes.values() for cloze in probe.clozes if cloze.wanted and cloze.unwanted
    ]
    return EvaluatedModel(
        label=model.label,
        source=loaded_model.source,
        run_id=model.run_id,
        tokenizer=tokenizer_fingerprint(loaded_model.tokenizer),
        scores=scores | summarize_probes(probe_scores),
        probes=probe_scores,
        rankings={
            text: fill_masks(text, loaded_model.model, loaded_model.tokenizer, config.depth, device) for text in texts
        },
        word_probabilities=mean_word_probabilities(sentiment_texts, loaded_model.model, loaded_model.tokenizer, device),
        modules=list_modules(loaded_model.model),
        components=list_components(loaded_model.model),
        history=_load_history(model, store),
    )


def _load_history(model: ModelReference, store: Store) -> dict[str, pd.DataFrame]:
    """Return tables of a run's losses and probe scores per step, or an empty dict if the model has no run."""
    import pandas as pd

    if model.run_id is None:
        return {}
    client = store.client()
    points = [(model.label, 0, *point) for point in iter_metric_histories(client, model.run_id, LOSS_METRICS)]
    tables = {"losses": pd.DataFrame(points, columns=["arm", "seed", "metric", "step", "value"])}
    if curves := fetch_artifact(client, model.run_id, keys.PROBE_CURVES):
        tables["curves"] = pd.read_parquet(curves).assign(arm=model.label, seed=0)
    return tables


def _build_probes(config: EvaluateConfig, models: Sequence[ModelReference]) -> dict[str, Probe]:
    """Build the configured probes. If there are none, use the probes of the first run, or else the default probes."""
    from winnow.evaluation import Probe

    probe_configs = config.probe or _read_from_first_run(models, "probe") or _read_default_probes()
    probes = {
        name: construct(node, f"probe.{name}", Probe, config.allow_targets) for name, node in probe_configs.items()
    }
    if errors := [error.with_prefix(f"probe.{name}") for name, probe in probes.items() for error in probe.check()]:
        raise WinnowErrors(errors)
    return probes


def _read_default_probes() -> dict[str, Any]:
    """Return the configuration of the probes that `winnow train` uses by default, keyed by probe name."""
    import yaml

    from winnow.config import builtin_config_folder

    def read(name: str) -> Any:
        return yaml.safe_load((builtin_config_folder() / f"{name}.yaml").read_text("utf-8"))

    names = next(group["probe"] for group in read("train")["defaults"] if "probe" in group)
    return {name: probe for file in names for name, probe in read(f"probe/{file}").items()}


def _load_held_out(config: EvaluateConfig, models: Sequence[ModelReference]) -> EvaluationRows | None:
    """Return the held-out rows and slices of the dataset, or `None` if there is no dataset.

    The dataset is the configured dataset or, if none is configured, the dataset of the first run.
    """
    node = config.dataset or _read_from_first_run(models, "dataset")
    if node is None:
        return None
    dataset = construct(node, "dataset", Dataset, config.allow_targets)
    slices = {**config.evaluation.slices}
    if config.dataset is None:
        slices |= _read_from_first_run(models, "evaluation").get("slices", {})
        slices |= extract_filters(_read_from_first_run(models, "filter"))
    if errors := dataset.check():
        raise WinnowErrors(error.with_prefix("dataset") for error in errors)
    cache = config.output_dir / "cache"
    corpus = load_corpus(dataset, cache)
    filters = {
        name: construct(node, f"evaluation.slices.{name}", Filter, config.allow_targets)
        for name, node in slices.items()
    }
    verdicts = {
        name: apply_filter(filter_, corpus, cache, f"evaluation.slices.{name}") for name, filter_ in filters.items()
    }
    splits = select_held_out_rows(corpus, config.evaluation.max_rows)
    rows = splits.get(config.split)
    if rows is None or not rows.num_rows:
        available = ", ".join(name for name, table in splits.items() if table.num_rows) or "none"
        raise WinnowError(
            f"the {config.split} split of {dataset.name} has no rows. Splits with rows: {available}. Choose one of "
            "these splits.",
            "split",
        )
    return EvaluationRows(rows, build_slice_masks(rows, verdicts))


def _read_from_first_run(models: Sequence[ModelReference], key: str) -> Any:
    return next(
        (model.config_dict[key] for model in models if model.config_dict is not None and key in model.config_dict), None
    )
