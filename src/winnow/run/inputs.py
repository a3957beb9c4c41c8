"""The first stage of a run: from its components to everything that training and evaluation need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.config import Cell, TrainConfig
from winnow.data import Corpus
from winnow.errors import WinnowError
from winnow.filters import Verdicts
from winnow.run.components import Components, cell_folder, cell_id, check_components, device_of, recipe
from winnow.run.slices import HeldOutSplit, apply_filter, held_out_rows, slices_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training import Masking, TokenRows


@dataclass(frozen=True)
class Inputs:
    """Everything that a run needs before its first step.

    Attributes:
        cell: The configuration.
        components: The objects that the configuration names.
        cell_id: The cell's id, which names its folder.
        recipe: The fingerprint of all that decides the result except the seed.
        corpus: The rows of every split.
        verdicts: The verdicts of each filter on all rows, by filter name.
        train_rows: The rows to train on.
        train_tokens: Their tokens, in rows or blocks.
        held_out: The held-out splits by name.
        tokenizer: The model's tokenizer.
        masking: The masking rule for this tokenizer.
        model: The model before its first step; :func:`~winnow.run.fit.fit` trains it in place.
        device: The device that trains and evaluates.
        numerics: How this process computes, as tracked.
    """

    cell: Cell[TrainConfig]
    components: Components
    cell_id: str
    recipe: str
    corpus: Corpus
    verdicts: dict[str, Verdicts]
    train_rows: pa.Table
    train_tokens: TokenRows
    held_out: dict[str, HeldOutSplit]
    tokenizer: PreTrainedTokenizerFast
    masking: Masking
    model: PreTrainedModel
    device: torch.device
    numerics: dict[str, Any]

    @property
    def config(self) -> TrainConfig:
        """The typed configuration."""
        return self.cell.config

    @property
    def folder(self) -> Path:
        """The folder of the cell's checkpoints and its model."""
        return cell_folder(self.config, self.cell_id)

    @property
    def vocabulary(self) -> str:
        """The fingerprint of the tokenizer's vocabulary."""
        return self.held_out["test"].tokens.vocabulary.fingerprint

    @property
    def base_verdicts(self) -> Verdicts | None:
        """The verdicts that select the training rows; `None` if all rows are trained on."""
        return self.verdicts.get(self.components.base_filter)


def load_inputs(cell: Cell[TrainConfig], components: Components, known_id: str | None = None) -> Inputs:
    """Load the corpus, apply the filters, select the training rows, tokenize, and load the model.

    Args:
        cell: The configuration.
        components: The objects that the configuration names.
        known_id: The cell's id, if it was computed already or another folder is to be used.

    Raises:
        WinnowError: A component cannot be used; the error's key is the component's.
    """
    config, cache = cell.config, components.cache
    check_components([components])
    corpus = components.corpus
    verdicts = {
        name: apply_filter(one, corpus, cache, components.key_of(name)) for name, one in components.slices.items()
    }
    train_rows = components.filter.select(corpus.split("train"), verdicts.get(components.base_filter), config.seed)
    with _errors_under("model"):
        tokenizer = components.model.tokenizer(corpus, cache)
    with _errors_under("masking"):
        masking = components.masking.for_tokenizer(tokenizer)
    held_out = _load_held_out(config, corpus, verdicts, tokenizer)
    train_tokens = _tokenize_training_rows(config, corpus, train_rows, tokenizer)
    with _errors_under("model"):
        model = components.model.load(tokenizer, config.seed)
    return Inputs(
        cell=cell,
        components=components,
        cell_id=known_id or cell_id(cell, components),
        recipe=recipe(cell, components),
        corpus=corpus,
        verdicts=verdicts,
        train_rows=train_rows,
        train_tokens=train_tokens,
        held_out=held_out,
        tokenizer=tokenizer,
        masking=masking,
        model=model,
        device=device_of(components),
        numerics=_set_up_numerics(config, components, train_tokens, model),
    )


def _load_held_out(
    config: TrainConfig, corpus: Corpus, verdicts: dict[str, Verdicts], tokenizer: PreTrainedTokenizerFast
) -> dict[str, HeldOutSplit]:
    from winnow.training import tokenize

    cache, length = config.output_dir / "cache", config.training.max_length
    return {
        name: HeldOutSplit(name, rows, slices_of(rows, verdicts), tokenize(rows, tokenizer, length, cache))
        for name, rows in held_out_rows(corpus, config.evaluation.max_rows).items()
    }


def _tokenize_training_rows(
    config: TrainConfig, corpus: Corpus, rows: pa.Table, tokenizer: PreTrainedTokenizerFast
) -> TokenRows:
    """Take the selected rows from the tokens of the whole train split, which all arms of a study share."""
    from winnow.training import pack_into_blocks, tokenize

    training, whole = config.training, corpus.split("train")
    in_blocks = training.batching == "blocks"
    tokens = tokenize(whole, tokenizer, None if in_blocks else training.max_length, config.output_dir / "cache")
    chosen = tokens.take(pc.is_in(whole["row_id"], value_set=rows["row_id"].combine_chunks()).to_numpy())
    return pack_into_blocks(chosen, training.block_size, training.keep_rows_apart) if in_blocks else chosen


def _set_up_numerics(
    config: TrainConfig, components: Components, rows: TokenRows, model: PreTrainedModel
) -> dict[str, Any]:
    """Choose the matmul backends of this process by the tokens of a training step; return what was chosen."""
    from winnow.training.forward import numerics

    training, wanted = config.training, config.arithmetic
    of_step = len(rows.ids) / max(1, len(rows)) * training.batch_size
    if training.batching == "tokens":
        of_step = training.max_tokens
    tokens = round(of_step / training.accumulate_batches)
    facts = numerics.configure_numerics(
        model,
        device_of(components),
        tokens=tokens,
        masked_tokens=round(tokens * components.masking.rate),
        cache=components.cache,
        linear=wanted.linear,
        tf32=wanted.tf32,
        compiled=wanted.compile,
    )
    return {**facts, "precision": str(components.trainer.keywords["precision"] or "32-true")}


@contextmanager
def _errors_under(key: str) -> Iterator[None]:
    """Raise errors of the block under a configuration key."""
    try:
        yield
    except WinnowError as error:
        raise error.under(key) from error
