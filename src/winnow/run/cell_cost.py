"""Estimates the time and the memory of a cell before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from winnow.config import TrainConfig
from winnow.run.run_components import RunComponents

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PROCESS_BYTES: Final = 800_000_000
"""The memory of a process that has imported the libraries and loaded a small corpus."""

BYTES_PER_PARAMETER: Final = 20
"""Weights, gradients, two moments of the optimizer and a copy of the weights during loading, in float32."""

CELL_SECONDS, STEP_SECONDS, FLOPS_PER_SECOND = 0.5, 0.004, 30e9
"""The estimated time of a cell without training, of a step without matmuls, and the rate of matmuls on one core."""

SAMPLE_ROWS: Final = 200
"""The number of training rows whose mean length is the estimated length of all rows."""


@dataclass(frozen=True)
class CellCost:
    """The estimated resources of one cell.

    Attributes:
        seconds: The time with one thread.
        memory: The peak memory of the process in bytes.
        is_small: Whether the model is too small to benefit from several threads.
    """

    seconds: float
    memory: int
    is_small: bool


def estimate_cost(config: TrainConfig, components: RunComponents) -> CellCost:
    """Return the estimated cost of a cell. The tokenizer and the model are loaded, but not trained.

    Raises:
        WinnowError: If the tokenizer or the model cannot be loaded.
    """
    tokenizer = components.model.tokenizer(components.corpus, components.cache)
    step_tokens = _estimate_step_tokens(config, components, tokenizer)
    model = components.model.load(tokenizer, config.seed)
    return _estimate_model_cost(config, model, step_tokens, components.masking.rate, len(components.corpus.table))


def _estimate_step_tokens(config: TrainConfig, components: RunComponents, tokenizer: PreTrainedTokenizerFast) -> float:
    """Return the estimated number of tokens per optimizer step, without padding."""
    training = config.training
    if training.batching == "tokens":
        return training.max_tokens
    if training.batching == "blocks":
        return training.batch_size * training.block_size
    texts = components.corpus.split("train")["text"].slice(0, SAMPLE_ROWS).to_pylist()
    lengths = [min(len(ids), training.max_length) for ids in tokenizer(texts)["input_ids"]] if texts else []
    return training.batch_size * sum(lengths) / max(1, len(lengths))


def _estimate_model_cost(
    config: TrainConfig, model: PreTrainedModel, step_tokens: float, masked_fraction: float, rows: int
) -> CellCost:
    from torch import nn

    from winnow.training.forward.numerics import is_small

    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    head_size = head.weight.numel() if isinstance(head, nn.Linear) else 0
    multiplications = sum(layer.weight.numel() for layer in layers) + masked_fraction * head_size
    training = config.training
    steps: float = training.max_steps
    if training.max_passes is not None:
        steps = training.max_passes * rows / training.batch_size
    elif training.total_tokens is not None:
        steps = training.total_tokens / max(1.0, step_tokens)
    seconds = CELL_SECONDS + steps * (STEP_SECONDS + 6 * multiplications * step_tokens / FLOPS_PER_SECOND)
    activations = 8 * sum(layer.in_features + layer.out_features for layer in layers)  # bytes per token, with gradients
    memory = PROCESS_BYTES + BYTES_PER_PARAMETER * sum(parameter.numel() for parameter in model.parameters())
    memory += int(activations * step_tokens / training.accumulate_batches)
    return CellCost(seconds, memory, is_small(model))
