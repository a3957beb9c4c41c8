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
    row_tokens = _estimate_row_tokens(config, components, tokenizer)
    model = components.model.load(tokenizer, config.seed)
    return _estimate_model_cost(config, components, model, row_tokens)


def _estimate_row_tokens(config: TrainConfig, components: RunComponents, tokenizer: PreTrainedTokenizerFast) -> float:
    """Return the mean number of tokens of the first training rows."""
    texts = components.corpus.split("train")["text"].slice(0, SAMPLE_ROWS).to_pylist()
    lengths = [min(len(ids), config.training.max_length) for ids in tokenizer(texts)["input_ids"]] if texts else []
    return sum(lengths) / max(1, len(lengths))


def _estimate_model_cost(
    config: TrainConfig, components: RunComponents, model: PreTrainedModel, row_tokens: float
) -> CellCost:
    from torch import nn

    from winnow.training.forward.numerics import is_small

    training, corpus = config.training, components.corpus
    step_tokens = {
        "lines": training.batch_size * row_tokens,
        "blocks": training.batch_size * training.block_size,
        "tokens": training.max_tokens,
    }[training.batching]
    steps: float = training.max_steps
    if training.max_passes is not None:
        steps = training.max_passes * corpus.split("train").num_rows / training.batch_size
    elif training.total_tokens is not None:
        steps = training.total_tokens / max(1.0, step_tokens)
    # Held-out rows are scored before and after training.
    held_out_rows = [corpus.split(name).num_rows for name in ("validation", "test")]
    evaluated_rows = 2 * sum(min(rows, config.evaluation.max_rows or rows) for rows in held_out_rows)

    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    head_size = head.weight.numel() if isinstance(head, nn.Linear) else 0
    multiplications = sum(layer.weight.numel() for layer in layers) + components.masking.rate * head_size
    flops = multiplications * (6 * steps * step_tokens + 2 * evaluated_rows * row_tokens)
    activations = 8 * sum(layer.in_features + layer.out_features for layer in layers)  # bytes per token, with gradients
    memory = PROCESS_BYTES + BYTES_PER_PARAMETER * sum(parameter.numel() for parameter in model.parameters())
    memory += int(activations * step_tokens / training.accumulate_batches)
    return CellCost(CELL_SECONDS + STEP_SECONDS * steps + flops / FLOPS_PER_SECOND, memory, is_small(model))
