"""What a model scores: on the held-out rows, whose masks never change, and on the probes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.config.schema import Evaluation
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.metrics.metric_names import ALL, held_out_metric_name, probe_metric_name
from winnow.run.baseline_cache import BaselineCache
from winnow.run.fit import Fitted
from winnow.run.inputs import Inputs
from winnow.run.slices import HeldOutSplit

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.evaluation import Probe, ProbeScores
    from winnow.training.forward.masked_logits import ForwardMode


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of one model.

    Attributes:
        rows: One line per held-out row.
        scores: Every metric by name.
        probes: The scores of each probe, by its name.
        words: What is known about the words of each probe.
    """

    rows: pa.Table
    scores: dict[str, float]
    probes: dict[str, ProbeScores]
    words: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Predictor:
    """A model and what its predictions depend on besides its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    device: torch.device
    forward: ForwardMode


def evaluate_baseline(inputs: Inputs) -> EvaluationResult:
    """Score the model before its first step; cells that start from the same weights share the scores."""
    predictor = _predictor(inputs, inputs.model)
    cache = BaselineCache.of(predictor.model, predictor.device, predictor.forward, inputs.components.cache)
    return _evaluate(inputs, predictor, cache)


def evaluate(inputs: Inputs, fitted: Fitted) -> EvaluationResult:
    """Score the trained model."""
    return _evaluate(inputs, _predictor(inputs, fitted.model))


def _predictor(inputs: Inputs, model: PreTrainedModel) -> Predictor:
    return Predictor(model, inputs.tokenizer, inputs.device, inputs.config.training.forward)


def _evaluate(inputs: Inputs, predictor: Predictor, cache: BaselineCache | None = None) -> EvaluationResult:
    tables: list[pa.Table] = []
    scores: dict[str, float] = {}
    for split in inputs.held_out.values():
        rows, metrics = score_split(split, predictor, inputs.config.evaluation, cache)
        tables.append(rows)
        scores |= metrics
    probes = _score_probes(inputs, predictor, cache)
    filter_words = inputs.components.filter.words()
    words = {name: words_of(inputs.components.probes[name], one, filter_words) for name, one in probes.items()}
    shares = {probe_metric_name(name, "filter_overlap"): facts["filter_overlap"] for name, facts in words.items()}
    scores |= probe_summaries(probes) | shares
    return EvaluationResult(pa.concat_tables(tables, promote_options="default"), scores, probes, words)


def _score_probes(inputs: Inputs, predictor: Predictor, cache: BaselineCache | None) -> dict[str, ProbeScores]:
    from winnow.evaluation.probes.contamination import find_contaminated_prompts

    texts = inputs.corpus.split("train")["text"]
    scores = {}
    for name, probe in inputs.components.probes.items():
        run = functools.partial(
            probe.run, predictor.model, predictor.tokenizer, predictor.device, forward=predictor.forward
        )
        try:
            found = cache.probe(fingerprint(probe.fingerprint(), inputs.vocabulary), run) if cache else run()
        except WinnowError as error:
            raise error.under(f"probe.{name}") from error
        scores[name] = found.mark_contaminated(find_contaminated_prompts(texts, probe.clozes))
    return scores


def words_of(probe: Probe, scores: ProbeScores, filter_words: Collection[str]) -> dict[str, Any]:
    """Return what must be known of a probe's words to judge its scores.

    That is which lexicon they come from, how many of them the vocabulary has, and how many the filter lists too: a
    filter on the probe's own words succeeds by construction.
    """
    own, filtered = probe.words(), {word.casefold() for word in filter_words}
    lexicon = probe.loaded_lexicon
    told = {"name": lexicon.name, "version": lexicon.version, "fingerprint": lexicon.fingerprint()} if lexicon else None
    return {
        "lexicon": told,
        "coverage": scores.coverage(),
        "uncovered": scores.uncovered,
        "shared_with_filter": sorted(own & filtered),
        "filter_overlap": len(own & filtered) / len(own) if own else 0.0,
    }


def score_split(
    split: HeldOutSplit, predictor: Predictor, evaluation: Evaluation, cache: BaselineCache | None = None
) -> tuple[pa.Table, dict[str, float]]:
    """Score a model on held-out rows.

    The masks of a row depend on the mask seed, the row and the tokenizer alone, and never on `masking`, which an arm
    may change; so every arm predicts the same tokens.

    Args:
        split: The rows.
        predictor: The model.
        evaluation: The mask seed, the batch size, and how many rows get a pseudo-log-likelihood.
        cache: Keeps the scores, if the model is one that several cells start from.

    Returns:
        One line per row, and every metric of each slice as `NAME/SLICE/METRIC`.
    """
    from winnow.evaluation import compute_slice_metrics

    texts, tokens = split.rows["text"].to_pylist(), split.tokens
    pseudo_rows = evaluation.pseudo_rows if split.name != "validation" else None
    score = _row_scorer(texts, split, predictor, evaluation, pseudo_rows)
    key = fingerprint(
        split.rows["row_id"].to_pylist(),
        texts if pseudo_rows is not None else None,
        hashlib.blake2b(tokens.ids.tobytes() + tokens.offsets.tobytes(), digest_size=8).hexdigest(),
        tokens.vocabulary.fingerprint,
        evaluation.mask_seed,
        pseudo_rows,
    )
    rows = cache.rows(key, score) if cache else score()
    scores = {
        held_out_metric_name(split.name, slice_name, metric): value
        for slice_name, metrics in compute_slice_metrics(rows, split.slices).items()
        for metric, value in metrics.items()
    }
    for column, values in (
        ("split", split.rows["split"]),
        ("source", split.rows["source"]),
        ("slices", _slice_names(split.slices)),
    ):
        rows = rows.append_column(column, values)
    return rows, scores


def _row_scorer(
    texts: list[str], split: HeldOutSplit, predictor: Predictor, evaluation: Evaluation, pseudo_rows: int | None
) -> Callable[[], pa.Table]:
    """Return the function that scores the rows, so that cached scores need no forward pass."""
    from winnow.evaluation import add_pseudo_log_likelihoods, score_rows
    from winnow.training import Masking

    model, device, forward = predictor.model, predictor.device, predictor.forward

    def score() -> pa.Table:
        seed, batch_size = evaluation.mask_seed, evaluation.batch_size
        rows = score_rows(model, split.tokens, Masking(), seed, batch_size, device, forward=forward)
        if pseudo_rows is None:
            return rows
        longest = int(split.tokens.lengths.max(initial=2))
        return add_pseudo_log_likelihoods(
            rows, texts, pseudo_rows, model, predictor.tokenizer, device, forward, longest
        )

    return score


def probe_summaries(probes: Mapping[str, ProbeScores]) -> dict[str, float]:
    """Return the mean scores of all probes as `probe/NAME/METRIC`."""
    return {
        probe_metric_name(name, metric): value
        for name, scores in probes.items()
        for metric, value in scores.summary().items()
    }


def _slice_names(members: Mapping[str, npt.NDArray[np.bool_]]) -> pa.Array:
    """Return for each row the names of its slices; `all` goes without saying."""
    named = {name: inside for name, inside in members.items() if name != ALL}
    names = [[name for name, inside in named.items() if inside[row]] for row in range(len(members[ALL]))]
    return pa.array(names, pa.list_(pa.string()))
