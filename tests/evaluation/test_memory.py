"""Nothing in evaluation holds the logits of all tokens of a batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fixtures.tiny_model import TEXTS
from winnow.evaluation import Probe, pseudo_log_likelihoods, score_rows
from winnow.evaluation.mask_predictions import LOGITS_AT_ONCE
from winnow.training import Masking, Scratch, TokenRows

PROBE = Probe(prompts=[f"nike hats {'very ' * i}are [MASK]" for i in range(12)], wanted=["durable"], unwanted=["ugly"])


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor with a vocabulary's width had."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.numbers = vocabulary, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor) and one.ndim and one.shape[-1] == self.vocabulary:
                self.numbers = max(self.numbers, one.numel())
        return made


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("what", ["rows", "probe", "pseudo"])
def test_logits_are_made_at_masks_only(tokenizer: Any, rows: TokenRows, forward: Any, what: str) -> None:
    model = Scratch(layers=1, hidden_size=32, heads=2, max_length=64).load(tokenizer, seed=0)
    few = rows.take(np.arange(64))
    masked = int(score_rows(model, few, Masking())["masked"].to_numpy().sum())
    tries: dict[str, tuple[int, int, Callable[[], Any]]] = {
        "rows": (masked, len(few.ids), lambda: score_rows(model, few, Masking(), batch_size=64, forward=forward)),
        "probe": (12, 12 * 6, lambda: PROBE.run(model, tokenizer, forward=forward)),
        "pseudo": (60, 60 * 8, lambda: pseudo_log_likelihoods(TEXTS[:10], model, tokenizer, forward=forward)),
    }
    at_masks, in_all, work = tries[what]
    # The embeddings have the vocabulary on another axis, the weights on the first: only logits have it on the last.
    with Largest(len(tokenizer)) as seen:
        work()
    assert 0 < seen.numbers <= 1.5 * at_masks * len(tokenizer)
    assert seen.numbers < in_all * len(tokenizer)


def test_a_large_vocabulary_makes_batches_smaller(
    model: Any, tokenizer: Any, rows: TokenRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score_rows(model, rows, Masking(), batch_size=256)
    for module in ("held_out", "mask_predictions", "pseudo_likelihood"):
        monkeypatch.setattr(f"winnow.evaluation.{module}.LOGITS_AT_ONCE", 10 * len(tokenizer))
    with Largest(len(tokenizer)) as seen:
        found = score_rows(model, rows, Masking(), batch_size=256)
        PROBE.run(model, tokenizer, batch_size=64)
        pseudo_log_likelihoods(TEXTS[:10], model, tokenizer)
    assert seen.numbers <= 30 * len(tokenizer)  # chance may mask a few more tokens than the rate foresees
    assert np.allclose(found["loss_sum"], expected["loss_sum"], atol=1e-5)
    assert LOGITS_AT_ONCE * 4 <= 2**26  # bytes
