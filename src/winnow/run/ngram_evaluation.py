"""Fit n-gram models on a run's training rows, and score them on the same rows and prompts as the trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from winnow.metrics.metric_names import NgramName
from winnow.run.evaluate import EvaluationResult, append_split_columns
from winnow.run.run_inputs import RunInputs

if TYPE_CHECKING:
    from winnow.evaluation import ProbeScores
    from winnow.evaluation.ngram_model import NgramModel


@dataclass(frozen=True)
class NgramResult:
    """The scores of one n-gram model.

    Attributes:
        rows: A table with the loss of each held-out row.
        probes: The scores of each probe, by probe name.
        loss: The mean loss over the masked tokens of the test rows; ``None`` if there are no masked tokens.
    """

    rows: pa.Table
    probes: dict[str, ProbeScores]
    loss: float | None


def evaluate_ngrams(inputs: RunInputs, results: EvaluationResult) -> dict[NgramName, NgramResult]:
    """Fit a unigram and a trigram model on the training rows, and score them.

    Args:
        inputs: The inputs of the run.
        results: The scores of the trained model, in which contaminated prompts are marked.

    Returns:
        The scores of each n-gram model, by its name; an empty dict if there are no training rows, or if the test split
        is not evaluated.
    """
    from winnow.evaluation.ngram_model import NgramModel

    if not len(inputs.train_tokens.ids) or inputs.config.evaluation.validation_only:
        return {}
    trigram = NgramModel.fit(inputs.train_tokens)
    models: dict[NgramName, NgramModel] = {"unigram": trigram.unigram_model, "trigram": trigram}
    return {name: _score_ngram_model(model, inputs, results) for name, model in models.items()}


def _score_ngram_model(model: NgramModel, inputs: RunInputs, results: EvaluationResult) -> NgramResult:
    from winnow.evaluation.ngram_scores import NgramPredictor, score_rows_with_ngrams
    from winnow.training import Masking

    seed = inputs.config.evaluation.mask_seed
    tables = {
        name: append_split_columns(score_rows_with_ngrams(model, split.tokens, Masking(), seed), split)
        for name, split in inputs.held_out.items()
    }
    test_rows = tables["test"]
    masked = pc.sum(test_rows["masked"]).as_py()
    predict = NgramPredictor(model, inputs.tokenizer)
    probes = {}
    for name, probe in inputs.components.probes.items():
        prompts = results.probes[name].prompts
        contaminated = set(prompts.filter(prompts["seen"])["prompt"].to_pylist())
        probes[name] = probe.run_predictor(predict, inputs.tokenizer).mark_contaminated(contaminated)
    return NgramResult(
        pa.concat_tables(tables.values()), probes, pc.sum(test_rows["loss_sum"]).as_py() / masked if masked else None
    )
