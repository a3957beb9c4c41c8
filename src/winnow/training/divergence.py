"""Where a loss stopped being a number: the rows of a step, looked at one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from winnow.training.batch import masked_batch
from winnow.training.batching import TrainingBatches
from winnow.training.forward.masked_logits import Forward, masked_lm_sums

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAMED = 5
"""Row ids that are told in full."""


def bad_rows(model: PreTrainedModel, batches: TrainingBatches, step: int, forward: Forward) -> str:
    """Return in words which rows of a step, counted from 1, have a loss that is no finite number.

    What a step saw is a function of its number, so the rows of all processes are found again. Once the weights are no
    numbers themselves, every row is as bad as any other.
    """
    chosen, passes = batches.whole().draw(step - 1)
    names = np.array([f"{key:016x}" for key in batches.rows.keys[chosen].tolist()])
    if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters()):
        return f"the weights are no numbers any more, and the step's {len(names)} rows were {_listed(names)}"
    training = model.training
    model.eval()
    bad = np.zeros(len(chosen), dtype=bool)
    with torch.no_grad():
        for i in range(len(chosen)):
            row = batches.rows.take(chosen[i : i + 1])
            progress = (step - 1) / max(1, batches.steps)
            batch = masked_batch(row, batches.masking, batches.seed, passes[i : i + 1], progress)
            bad[i] = not torch.isfinite(masked_lm_sums(model, batch.to(model.device), forward)[0])
    model.train(training)
    if not bad.any():
        return f"no row alone is at fault without dropout; the step's {len(names)} rows were {_listed(names)}"
    return f"{bad.sum()} of the step's {len(names)} rows are at fault: {_listed(names[bad])}"


def _listed(names: npt.NDArray[np.str_]) -> str:
    more = len(names) - _NAMED
    return f"row ids {', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''}"
