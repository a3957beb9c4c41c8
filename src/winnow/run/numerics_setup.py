"""How a cell computes, decided before its first number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from winnow.config import TrainConfig
from winnow.run.components import Parts, device_of
from winnow.run.inputs import Ready

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def set_up_arithmetic(config: TrainConfig, parts: Parts, ready: Ready, model: PreTrainedModel) -> dict[str, Any]:
    """Decide for this process how it computes, by what a step of this training will hold; return what was decided."""
    from winnow.training.forward import numerics

    rows, training, wanted = ready.tokens["train"], config.training, config.arithmetic
    of_step = len(rows.ids) / max(1, len(rows)) * training.batch_size
    if training.batching == "tokens":
        of_step = training.max_tokens
    tokens = round(of_step / training.accumulate_batches)
    facts = numerics.set_up(
        model,
        device_of(parts),
        tokens=tokens,
        guessed=round(tokens * parts.masking.rate),
        cache=config.output_dir / "cache",
        linear=wanted.linear,
        tf32=wanted.tf32,
        compiled=wanted.compile,
    )
    return {**facts, "precision": str(parts.trainer.keywords.get("precision", "32-true"))}
