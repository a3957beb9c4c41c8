import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional

from fixtures.tiny_model import TEXTS
from winnow.evaluation import pseudo_log_likelihoods, score_pseudo, score_rows, slice_metrics
from winnow.training import HeldOutBatches, MaskedLoss, Masking, Perplexity, TokenRows, masked_lm_loss_sum
from winnow.training.masked_batch import build_masked_batch


def test_each_row_gets_what_it_would_get_alone(model: Any, rows: TokenRows) -> None:
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
        got = scores.slice(i, 1).to_pylist()[0]
        assert got["loss_sum"] == pytest.approx(expected, rel=1e-5)
        assert (got["masked"], got["top1"], got["top5"]) == (len(logits), int(hits[:, 0].sum()), int(hits.sum()))
        assert got["ranks"] == ranks.tolist()
        assert got["mrr"] == pytest.approx(float((1 / ranks).sum()))
        assert got["confidences"] == pytest.approx(logits.softmax(1).amax(1).tolist(), rel=1e-5)


def test_scores_depend_on_the_seed_and_not_on_batches_or_order(model: Any, rows: TokenRows) -> None:
    scores = score_rows(model, rows, Masking(), seed=4, batch_size=50).to_pandas().set_index("row_id")
    turned = rows.take(np.random.default_rng(0).permutation(len(rows)))
    other = score_rows(model, turned, Masking(), seed=4, batch_size=7).to_pandas().set_index("row_id")
    assert (scores["masked"] == other.loc[scores.index, "masked"]).all()
    assert np.allclose(scores["loss_sum"], other.loc[scores.index, "loss_sum"], rtol=1e-5)
    again = score_rows(model, rows, Masking(), seed=5).to_pandas().set_index("row_id")
    assert (scores["masked"] != again["masked"]).any()


def test_the_model_is_put_back_as_it_was(model: Any, rows: TokenRows) -> None:
    model.train()
    few = rows.take(np.arange(20))
    first, second = (score_rows(model, few, Masking()) for _ in range(2))
    assert first.equals(second)  # no dropout while scoring
    assert model.training
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in model.parameters())


def test_no_held_out_row_is_no_fault(model: Any, rows: TokenRows) -> None:
    scores = score_rows(model, rows.take(np.arange(0)), Masking())
    assert len(scores) == 0
    assert slice_metrics(scores) == {"all": {"rows": 0.0, "masked": 0.0}}


def scored(*rows: list[tuple[float, int, float]]) -> pa.Table:
    """A table as `score_rows` gives it, from the loss, rank and confidence of each masked token of each row."""
    columns = {
        "row_id": [f"{i:016x}" for i in range(len(rows))],
        "loss_sum": [float(sum(loss for loss, _, _ in row)) for row in rows],
        "masked": [len(row) for row in rows],
        "ranks": pa.array([[rank for _, rank, _ in row] for row in rows], pa.list_(pa.int32())),
        "confidences": pa.array([[sure for _, _, sure in row] for row in rows], pa.list_(pa.float32())),
    }
    return pa.table(columns)


def test_averages_weigh_tokens_and_not_rows() -> None:
    rows = scored(
        [(1.0, 1, 0.5), (1.0, 2, 0.5), (1.0, 6, 0.5)],
        [(1.0, 4, 0.5)],
        [],
        [(4.0, 3, 1.0), (4.0, 10, 1.0)],
    )
    found = slice_metrics(rows, {"kept": np.array([True, True, True, False]), "removed": np.array([False] * 4)})
    assert list(found) == ["all", "kept", "removed"]
    assert found["all"] == pytest.approx(
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
    assert found["kept"] == pytest.approx(
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
    assert found["removed"] == {"rows": 0.0, "masked": 0.0}


def test_rows_without_a_masked_token_have_no_averages() -> None:
    assert slice_metrics(scored([]))["all"] == {"rows": 1.0, "masked": 0.0}


def test_the_pseudo_perplexity_is_that_of_a_fixed_subset(model: Any, tokenizer: Any, rows: TokenRows) -> None:
    few = rows.take(np.arange(40))
    table = score_rows(model, few, Masking())
    result = score_pseudo(table, TEXTS[:40], 5, model, tokenizer)
    chosen = np.sort(np.argsort(table["row_id"].to_pylist())[:5])
    assert np.flatnonzero(result["pseudo_tokens"].is_valid()).tolist() == chosen.tolist()
    sums, tokens = pseudo_log_likelihoods([TEXTS[row] for row in chosen], model, tokenizer)
    assert slice_metrics(result)["all"]["pseudo_perplexity"] == pytest.approx(math.exp(-sums.sum() / tokens.sum()))
    assert "pseudo_perplexity" not in slice_metrics(table)["all"]


def test_an_even_guess_scores_the_logarithm_of_the_vocabulary(model: Any, rows: TokenRows) -> None:
    with torch.no_grad():
        model.vocab_projector.weight.zero_()
        model.vocab_projector.bias.zero_()
    found = slice_metrics(score_rows(model, rows, Masking()))["all"]
    assert found["loss"] == pytest.approx(math.log(rows.vocabulary.size), rel=1e-6)
    assert found["perplexity"] == pytest.approx(rows.vocabulary.size, rel=1e-5)


def test_scores_agree_with_the_loss_of_training(model: Any, rows: TokenRows) -> None:
    loss, perplexity = MaskedLoss(), Perplexity()
    with torch.no_grad():
        for batch in HeldOutBatches(rows, Masking(), 4, 33):
            sums = masked_lm_loss_sum(model, batch)
            loss.update(*sums)
            perplexity.update(*sums)
    found = slice_metrics(score_rows(model, rows, Masking(), seed=4))["all"]
    assert found["loss"] == pytest.approx(float(loss.compute()), rel=1e-6)
    assert found["perplexity"] == pytest.approx(float(perplexity.compute()), rel=1e-6)
