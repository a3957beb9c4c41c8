"""How a run computes, decided before its first forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from winnow.config import TrainConfig
from winnow.run.components import Components, device_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from winnow.training import TokenRows


def set_up_numerics(
    config: TrainConfig, components: Components, rows: TokenRows, model: PreTrainedModel
) -> dict[str, Any]:
    """Choose the matmul backends of this process by the tokens of a training step; return what was chosen."""
    from winnow.training.forward import numerics

    training, wanted = config.training, config.arithmetic
    of_step = len(rows.ids) / max(1, len(rows)) * training.batch_size
    if training.batching == "tokens":
        of_step = training.max_tokens
    tokens = round(of_step / training.accumulate_batches)
    facts = numerics.set_up(
        model,
        device_of(components),
        tokens=tokens,
        guessed=round(tokens * components.masking.rate),
        cache=components.cache,
        linear=wanted.linear,
        tf32=wanted.tf32,
        compiled=wanted.compile,
    )
    return {**facts, "precision": str(components.trainer.keywords.get("precision", "32-true"))}
