"""Scores a model on the held-out rows under fixed masks, and on the probes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.config.schema import EvaluationConfig
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.metrics.metric_names import ALL_ROWS_SLICE, held_out_metric_name, probe_metric_name
from winnow.run.baseline_cache import BaselineCache
from winnow.run.fit import FitResult
from winnow.run.held_out_slices import HeldOutSplit
from winnow.run.probe_words import summarize_probe_words
from winnow.run.run_inputs import RunInputs

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.evaluation import ProbeScores
    from winnow.training.forward.masked_logits import ForwardMode


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of one model.

    Attributes:
        rows: A table with the scores of each held-out row.
        scores: The value of each metric, by metric name.
        probes: The scores of each probe, by probe name.
        words: A summary of each probe's words, by probe name.
    """

    rows: pa.Table
    scores: dict[str, float]
    probes: dict[str, ProbeScores]
    words: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Predictor:
    """A model with its tokenizer, device and forward pass."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    device: torch.device
    forward: ForwardMode


def evaluate_baseline(inputs: RunInputs) -> EvaluationResult:
    """Return the model's scores before training. Cells that start from the same weights share the cached scores."""
    predictor = _build_predictor(inputs, inputs.model)
    cache = BaselineCache.for_model(predictor.model, predictor.device, predictor.forward, inputs.components.cache)
    return _evaluate_predictor(inputs, predictor, cache)


def evaluate(inputs: RunInputs, fit_result: FitResult) -> EvaluationResult:
    """Return the scores of the trained model."""
    return _evaluate_predictor(inputs, _build_predictor(inputs, fit_result.model))


def _build_predictor(inputs: RunInputs, model: PreTrainedModel) -> Predictor:
    return Predictor(model, inputs.tokenizer, inputs.device, inputs.config.training.forward)


def _evaluate_predictor(
    inputs: RunInputs, predictor: Predictor, cache: BaselineCache | None = None
) -> EvaluationResult:
    tables: list[pa.Table] = []
    scores: dict[str, float] = {}
    for split in inputs.held_out.values():
        rows, metrics = score_split(split, predictor, inputs.config.evaluation, cache)
        tables.append(rows)
        scores |= metrics
    probes = _score_probes(inputs, predictor, cache)
    words = {
        name: summarize_probe_words(inputs.components.probes[name], probe_scores, inputs.components.filter)
        for name, probe_scores in probes.items()
    }
    overlaps = {probe_metric_name(name, "filter_overlap"): summary["filter_overlap"] for name, summary in words.items()}
    scores |= summarize_probes(probes) | overlaps
    return EvaluationResult(pa.concat_tables(tables, promote_options="default"), scores, probes, words)


def _score_probes(inputs: RunInputs, predictor: Predictor, cache: BaselineCache | None) -> dict[str, ProbeScores]:
    from winnow.evaluation.probes.prompt_contamination import find_contaminated_prompts

    texts = inputs.corpus.split("train")["text"]
    validation_only = inputs.config.evaluation.validation_only
    scores = {}
    for name, probe in inputs.components.probes.items():
        compute_scores = functools.partial(
            probe.run,
            predictor.model,
            predictor.tokenizer,
            predictor.device,
            forward=predictor.forward,
            split="validation" if validation_only else "test",
        )
        try:
            key = fingerprint(
                probe.fingerprint(), inputs.vocabulary_fingerprint, *(["validation"] if validation_only else [])
            )
            probe_scores = cache.get_or_compute_probe(key, compute_scores) if cache else compute_scores()
        except WinnowError as error:
            raise error.with_prefix(f"probe.{name}") from error
        clozes = probe.clozes if validation_only else probe.clozes + probe.comparison_clozes
        scores[name] = probe_scores.mark_contaminated(find_contaminated_prompts(texts, clozes))
    return scores


def score_split(
    split: HeldOutSplit, predictor: Predictor, evaluation: EvaluationConfig, cache: BaselineCache | None = None
) -> tuple[pa.Table, dict[str, float]]:
    """Score a model on held-out rows.

    The masks of a row depend only on the mask seed, the row and the tokenizer. They do not depend on the `masking`
    group, which may differ between arms, so every arm predicts the same tokens.

    Args:
        split: The held-out rows with their slices and tokens.
        predictor: The model with its tokenizer and device.
        evaluation: The mask seed, the batch size, and the number of rows to score by pseudo-log-likelihood.
        cache: The cache of scores before training; `None` always computes the scores.

    Returns:
        A table with the scores of each held-out row, and the metrics of each slice, named `SPLIT/SLICE/METRIC`.
    """
    from winnow.evaluation import compute_slice_metrics

    texts, tokens = split.rows["text"].to_pylist(), split.tokens
    pseudo_rows = evaluation.pseudo_likelihood_rows if split.name != "validation" else None
    score = _build_row_scorer(texts, split, predictor, evaluation, pseudo_rows)
    key = fingerprint(
        split.rows["row_id"].to_pylist(),
        texts if pseudo_rows is not None else None,
        hashlib.blake2b(tokens.ids.tobytes() + tokens.offsets.tobytes(), digest_size=8).hexdigest(),
        tokens.vocabulary.fingerprint,
        evaluation.mask_seed,
        pseudo_rows,
    )
    rows = cache.get_or_compute_rows(key, score) if cache else score()
    scores = {
        held_out_metric_name(split.name, slice_name, metric): value
        for slice_name, metrics in compute_slice_metrics(rows, split.slices).items()
        for metric, value in metrics.items()
    }
    return append_split_columns(rows, split), scores


def append_split_columns(scores: pa.Table, split: HeldOutSplit) -> pa.Table:
    """Append the columns `split`, `source` and `slices` to a table with the scores of each row of a split."""
    for column, values in (
        ("split", split.rows["split"]),
        ("source", split.rows["source"]),
        ("slices", _list_slice_names(split.slices)),
        *([("cluster", split.clusters.labels), ("cluster_kind", split.clusters.kinds)] if split.clusters else []),
    ):
        scores = scores.append_column(column, values)
    return scores


def _build_row_scorer(
    texts: list[str], split: HeldOutSplit, predictor: Predictor, evaluation: EvaluationConfig, pseudo_rows: int | None
) -> Callable[[], pa.Table]:
    """Return a function that scores the rows. The function is not called if the scores are cached."""
    from winnow.evaluation import add_pseudo_log_likelihoods, score_rows
    from winnow.training import Masking

    model, device, forward = predictor.model, predictor.device, predictor.forward

    def score() -> pa.Table:
        seed, batch_size = evaluation.mask_seed, evaluation.batch_size
        rows = score_rows(model, split.tokens, Masking(), seed, batch_size, device, forward=forward)
        if pseudo_rows is None:
            return rows
        max_length = int(split.tokens.lengths.max(initial=2))
        return add_pseudo_log_likelihoods(
            rows, texts, pseudo_rows, model, predictor.tokenizer, device, forward, max_length
        )

    return score


def summarize_probes(probes: Mapping[str, ProbeScores]) -> dict[str, float]:
    """Return the mean scores of all probes by metric name (`probe/NAME/METRIC`)."""
    return {
        probe_metric_name(name, metric): value
        for name, scores in probes.items()
        for metric, value in scores.summary().items()
    }


def _list_slice_names(slice_masks: Mapping[str, npt.NDArray[np.bool_]]) -> pa.Array:
    """Return the names of the slices that contain each row, except `all`."""
    row_count = len(slice_masks[ALL_ROWS_SLICE])
    filter_and_source_masks = {name: mask for name, mask in slice_masks.items() if name != ALL_ROWS_SLICE}
    names = [[name for name, mask in filter_and_source_masks.items() if mask[row]] for row in range(row_count)]
    return pa.array(names, pa.list_(pa.string()))
