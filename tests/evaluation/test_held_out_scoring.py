import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional

from fixtures.tiny_model import TEXTS
from winnow.evaluation import add_pseudo_log_likelihoods, compute_slice_metrics, pseudo_log_likelihoods, score_rows
from winnow.training import HeldOutBatches, MaskedLoss, Masking, Perplexity, TokenRows, masked_lm_loss_sum
from winnow.training.masked_batch import build_masked_batch


def test_scores_of_a_row_match_a_forward_pass_of_that_row_alone(model: Any, rows: TokenRows) -> None:
    scores = score_rows(model, rows, Masking(), seed=4, batch_size=50)
    assert scores["row_id"].to_pylist() == [f"{key:016x}" for key in rows.keys.tolist()]
    assert scores.schema.types[1:6] == [pa.float64(), pa.int64(), pa.int64(), pa.int64(), pa.float64()]
    for i in (0, 100, 587):
        batch = build_masked_batch(rows.take(np.array([i])), Masking(), 4)
        with torch.no_grad():
            logits = model(input_ids=batch.input_ids[None]).logits[0][batch.masked_indices]
        expected = functional.cross_entropy(logits, batch.targets, reduction="sum").item() if len(logits) else 0.0
        hits = logits.topk(5).indices == batch.targets[:, None]
        ranks = 1 + (logits.argsort(1, descending=True) == batch.targets[:, None]).int().argmax(1)
        row = scores.slice(i, 1).to_pylist()[0]
        assert row["loss_sum"] == pytest.approx(expected, rel=1e-5)
        assert (row["masked"], row["top1"], row["top5"]) == (len(logits), int(hits[:, 0].sum()), int(hits.sum()))
        assert row["ranks"] == ranks.tolist()
        assert row["mrr"] == pytest.approx(float((1 / ranks).sum()))
        assert row["confidences"] == pytest.approx(logits.softmax(1).amax(1).tolist(), rel=1e-5)


def test_scores_depend_on_the_seed_and_not_on_batch_size_or_order(model: Any, rows: TokenRows) -> None:
    scores = score_rows(model, rows, Masking(), seed=4, batch_size=50).to_pandas().set_index("row_id")
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    other = score_rows(model, shuffled, Masking(), seed=4, batch_size=7).to_pandas().set_index("row_id")
    assert (scores["masked"] == other.loc[scores.index, "masked"]).all()
    assert np.allclose(scores["loss_sum"], other.loc[scores.index, "loss_sum"], rtol=1e-5)
    other_seed = score_rows(model, rows, Masking(), seed=5).to_pandas().set_index("row_id")
    assert (scores["masked"] != other_seed["masked"]).any()


def test_the_mode_of_the_model_is_restored(model: Any, rows: TokenRows) -> None:
    model.train()
    few = rows.take(np.arange(20))
    first, second = (score_rows(model, few, Masking()) for _ in range(2))
    assert first.equals(second)  # no dropout while scoring
    assert model.training
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in model.parameters())


def test_no_held_out_rows_give_an_empty_table(model: Any, rows: TokenRows) -> None:
    scores = score_rows(model, rows.take(np.arange(0)), Masking())
    assert len(scores) == 0
    assert compute_slice_metrics(scores) == {"all": {"rows": 0.0, "masked": 0.0}}


def build_scores(*rows: list[tuple[float, int, float]]) -> pa.Table:
    """A table as returned by `score_rows`, from the loss, rank and confidence of each masked token of each row."""
    columns = {
        "row_id": [f"{i:016x}" for i in range(len(rows))],
        "loss_sum": [float(sum(loss for loss, _, _ in row)) for row in rows],
        "masked": [len(row) for row in rows],
        "ranks": pa.array([[rank for _, rank, _ in row] for row in rows], pa.list_(pa.int32())),
        "confidences": pa.array([[confidence for _, _, confidence in row] for row in rows], pa.list_(pa.float32())),
    }
    return pa.table(columns)


def test_averages_are_over_tokens_and_not_over_rows() -> None:
    rows = build_scores(
        [(1.0, 1, 0.5), (1.0, 2, 0.5), (1.0, 6, 0.5)],
        [(1.0, 4, 0.5)],
        [],
        [(4.0, 3, 1.0), (4.0, 10, 1.0)],
    )
    metrics = compute_slice_metrics(
        rows, {"kept": np.array([True, True, True, False]), "removed": np.array([False] * 4)}
    )
    assert list(metrics) == ["all", "kept", "removed"]
    assert metrics["all"] == pytest.approx(
        {
            "rows": 4,
            "masked": 6,
            "loss": 2.0,
            "perplexity": math.exp(2),
            "top1": 1 / 6,
            "top5": 4 / 6,
            "mrr": (1 + 1 / 2 + 1 / 6 + 1 / 4 + 1 / 3 + 1 / 10) / 6,
            "ece": (abs(1 - 4 * 0.5) + abs(0 - 2 * 1.0)) / 6,
        }
    )
    assert metrics["kept"] == pytest.approx(
        {
            "rows": 3,
            "masked": 4,
            "loss": 1.0,
            "perplexity": math.e,
            "top1": 0.25,
            "top5": 0.75,
            "mrr": (1 + 1 / 2 + 1 / 6 + 1 / 4) / 4,
            "ece": 0.25,
        }
    )
    assert metrics["removed"] == {"rows": 0.0, "masked": 0.0}


def test_rows_without_a_masked_token_have_no_averages() -> None:
    assert compute_slice_metrics(build_scores([]))["all"] == {"rows": 1.0, "masked": 0.0}


def test_the_pseudo_perplexity_is_computed_on_a_fixed_subset(model: Any, tokenizer: Any, rows: TokenRows) -> None:
    few = rows.take(np.arange(40))
    table = score_rows(model, few, Masking())
    result = add_pseudo_log_likelihoods(table, TEXTS[:40], 5, model, tokenizer)
    subset = np.sort(np.argsort(table["row_id"].to_pylist())[:5])
    assert np.flatnonzero(result["pseudo_tokens"].is_valid()).tolist() == subset.tolist()
    sums, tokens = pseudo_log_likelihoods([TEXTS[row] for row in subset], model, tokenizer)
    assert compute_slice_metrics(result)["all"]["pseudo_perplexity"] == pytest.approx(
        math.exp(-sums.sum() / tokens.sum())
    )
    assert "pseudo_perplexity" not in compute_slice_metrics(table)["all"]


def test_the_loss_of_a_uniform_prediction_is_the_log_of_the_vocabulary_size(model: Any, rows: TokenRows) -> None:
    with torch.no_grad():
        model.vocab_projector.weight.zero_()
        model.vocab_projector.bias.zero_()
    metrics = compute_slice_metrics(score_rows(model, rows, Masking()))["all"]
    assert metrics["loss"] == pytest.approx(math.log(rows.vocabulary.size), rel=1e-6)
    assert metrics["perplexity"] == pytest.approx(rows.vocabulary.size, rel=1e-5)


def test_scores_match_the_training_loss(model: Any, rows: TokenRows) -> None:
    loss, perplexity = MaskedLoss(), Perplexity()
    with torch.no_grad():
        for batch in HeldOutBatches(rows, Masking(), 4, 33):
            sums = masked_lm_loss_sum(model, batch)
            loss.update(*sums)
            perplexity.update(*sums)
    metrics = compute_slice_metrics(score_rows(model, rows, Masking(), seed=4))["all"]
    assert metrics["loss"] == pytest.approx(float(loss.compute()), rel=1e-6)
    assert metrics["perplexity"] == pytest.approx(float(perplexity.compute()), rel=1e-6)
