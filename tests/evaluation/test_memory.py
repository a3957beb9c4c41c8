"""Evaluation never allocates the logits of all tokens of a batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fixtures.tiny_model import TEXTS
from winnow.evaluation import Probe, pseudo_log_likelihoods, score_rows
from winnow.evaluation.mask_predictions import MAX_LOGITS_PER_BATCH
from winnow.training import Masking, Scratch, TokenRows

PROBE = Probe(prompts=[f"nike hats {'very ' * i}are [MASK]" for i in range(12)], wanted=["durable"], unwanted=["ugly"])


class LargestLogits(TorchDispatchMode):
    """Records the number of elements of the largest tensor whose last dimension is the vocabulary size."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.vocabulary_size, self.elements = vocabulary_size, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for output in result if isinstance(result, tuple | list) else [result]:
            if isinstance(output, torch.Tensor) and output.ndim and output.shape[-1] == self.vocabulary_size:
                self.elements = max(self.elements, output.numel())
        return result


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("task", ["rows", "probe", "pseudo"])
def test_logits_are_computed_at_masks_only(tokenizer: Any, rows: TokenRows, forward: Any, task: str) -> None:
    model = Scratch(layers=1, hidden_size=32, heads=2, max_length=64).load(tokenizer, seed=0)
    few = rows.take(np.arange(64))
    masked = int(score_rows(model, few, Masking())["masked"].to_numpy().sum())
    tasks: dict[str, tuple[int, int, Callable[[], Any]]] = {
        "rows": (masked, len(few.ids), lambda: score_rows(model, few, Masking(), batch_size=64, forward=forward)),
        "probe": (12, 12 * 6, lambda: PROBE.run(model, tokenizer, forward=forward)),
        "pseudo": (60, 60 * 8, lambda: pseudo_log_likelihoods(TEXTS[:10], model, tokenizer, forward=forward)),
    }
    mask_count, token_count, run = tasks[task]
    # Only logits have the vocabulary size as their last dimension.
    with LargestLogits(len(tokenizer)) as largest:
        run()
    assert 0 < largest.elements <= 1.5 * mask_count * len(tokenizer)
    assert largest.elements < token_count * len(tokenizer)


def test_a_large_vocabulary_reduces_the_batch_size(
    model: Any, tokenizer: Any, rows: TokenRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score_rows(model, rows, Masking(), batch_size=256)
    for module in ("held_out_scoring", "mask_predictions", "pseudo_likelihood"):
        monkeypatch.setattr(f"winnow.evaluation.{module}.MAX_LOGITS_PER_BATCH", 10 * len(tokenizer))
    with LargestLogits(len(tokenizer)) as largest:
        scores = score_rows(model, rows, Masking(), batch_size=256)
        PROBE.run(model, tokenizer, batch_size=64)
        pseudo_log_likelihoods(TEXTS[:10], model, tokenizer)
    assert largest.elements <= 30 * len(tokenizer)  # random masking may mask a few more tokens than expected
    assert np.allclose(scores["loss_sum"], expected["loss_sum"], atol=1e-5)
    assert MAX_LOGITS_PER_BATCH * 4 <= 2**26  # bytes
