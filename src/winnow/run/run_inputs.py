"""Loads the inputs of a run: corpus, verdicts, tokens and model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.config import ComposedCell, TrainConfig
from winnow.data import Corpus
from winnow.errors import WinnowError
from winnow.filters import Verdicts
from winnow.run.checkpoint_files import load_numerics
from winnow.run.held_out_clusters import assign_clusters
from winnow.run.held_out_slices import HeldOutSplit, apply_filter, build_slice_masks, select_held_out_rows
from winnow.run.run_components import (
    RunComponents,
    cell_folder,
    check_components,
    compute_cell_id,
    compute_recipe_fingerprint,
    select_device,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training import Masking, TokenRows


@dataclass(frozen=True)
class RunInputs:
    """The inputs of training and evaluation.

    Attributes:
        cell: The cell's composed configuration.
        components: The objects that are built from the configuration.
        cell_id: The cell's id, which is also the name of the cell's folder.
        recipe: A fingerprint of everything that determines the result, except the seed.
        corpus: The rows of every split.
        verdicts: The verdicts of each filter on all rows, by filter name.
        train_rows: The rows to train on.
        train_tokens: The tokens of the training rows, either one sequence per row or packed into blocks.
        held_out: The held-out splits by name.
        tokenizer: The model's tokenizer.
        masking: The masking rule for this tokenizer.
        model: The model before training; :func:`~winnow.run.fit.fit` trains it in place.
        device: The device for training and evaluation.
        numerics: The selected device, precision and matmul backends, which are logged.
    """

    cell: ComposedCell[TrainConfig]
    components: RunComponents
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
        """The folder that contains the cell's checkpoints and model."""
        return cell_folder(self.config, self.cell_id)

    @property
    def vocabulary_fingerprint(self) -> str:
        """The fingerprint of the tokenizer's vocabulary."""
        return self.held_out["validation"].tokens.vocabulary.fingerprint

    @property
    def base_verdicts(self) -> Verdicts | None:
        """The verdicts that select the training rows; `None` if the model is trained on all rows."""
        return self.verdicts.get(self.components.base_filter_name)


def load_inputs(
    cell: ComposedCell[TrainConfig], components: RunComponents, precomputed_id: str | None = None
) -> RunInputs:
    """Load the corpus, apply the filters, select the training rows, tokenize, and load the model.

    Args:
        cell: The cell's composed configuration.
        components: The objects that are built from the configuration.
        precomputed_id: The id to use instead of computing the cell's id. It is also the name of the cell's folder.

    Raises:
        WinnowError: If a component is invalid or fails to load. The error's key starts with the
            component's configuration key.
    """
    config, cache = cell.config, components.cache
    check_components([components])
    corpus = components.corpus
    verdicts = {
        name: apply_filter(filter_, corpus, cache, components.filter_key(name))
        for name, filter_ in components.slices.items()
    }
    train_rows = components.filter.select(corpus.split("train"), verdicts.get(components.base_filter_name), config.seed)
    with _prefix_errors("model"):
        tokenizer = components.model.tokenizer(corpus, cache)
    with _prefix_errors("masking"):
        masking = components.masking.for_tokenizer(tokenizer)
    held_out = _load_held_out(config, components, verdicts, tokenizer)
    train_tokens = _tokenize_training_rows(config, corpus, train_rows, tokenizer)
    with _prefix_errors("model"):
        model = components.model.load(tokenizer, config.seed)
    cell_id = precomputed_id or compute_cell_id(cell, components)
    resumed_numerics = load_numerics(cell_folder(config, cell_id))
    return RunInputs(
        cell=cell,
        components=components,
        cell_id=cell_id,
        recipe=compute_recipe_fingerprint(cell, components),
        corpus=corpus,
        verdicts=verdicts,
        train_rows=train_rows,
        train_tokens=train_tokens,
        held_out=held_out,
        tokenizer=tokenizer,
        masking=masking,
        model=model,
        device=select_device(components),
        numerics=_set_up_numerics(config, components, train_tokens, model, resumed_numerics),
    )


def _load_held_out(
    config: TrainConfig,
    components: RunComponents,
    verdicts: dict[str, Verdicts],
    tokenizer: PreTrainedTokenizerFast,
) -> dict[str, HeldOutSplit]:
    from winnow.training import tokenize

    cache, length = config.output_dir / "cache", config.training.max_length
    evaluation = config.evaluation
    held_out_rows = select_held_out_rows(components.corpus, evaluation.max_rows, evaluation.validation_only)
    return {
        name: HeldOutSplit(
            name,
            rows,
            build_slice_masks(rows, verdicts),
            tokenize(rows, tokenizer, length, cache),
            assign_clusters(rows, evaluation.cluster_by, components.dataset.group_columns),
        )
        for name, rows in held_out_rows.items()
    }


def _tokenize_training_rows(
    config: TrainConfig, corpus: Corpus, rows: pa.Table, tokenizer: PreTrainedTokenizerFast
) -> TokenRows:
    """Return the tokens of the training rows. The full train split is tokenized once and cached for all arms."""
    from winnow.training import pack_into_blocks, tokenize

    training, full_split = config.training, corpus.split("train")
    in_blocks = training.batching == "blocks"
    tokens = tokenize(full_split, tokenizer, None if in_blocks else training.max_length, config.output_dir / "cache")
    selected_tokens = tokens.take(pc.is_in(full_split["row_id"], value_set=rows["row_id"].combine_chunks()).to_numpy())
    return (
        pack_into_blocks(selected_tokens, training.block_size, training.isolate_rows) if in_blocks else selected_tokens
    )


def _set_up_numerics(
    config: TrainConfig,
    components: RunComponents,
    rows: TokenRows,
    model: PreTrainedModel,
    resumed_numerics: Mapping[str, Any],
) -> dict[str, Any]:
    """Select the matmul backends, based on the tokens per training step, and the threads. Return the selection."""
    from winnow.training.forward import numerics

    training, requested_numerics = config.training, config.numerics
    step_tokens = len(rows.ids) / max(1, len(rows)) * training.batch_size
    if training.batching == "tokens":
        step_tokens = training.max_tokens
    tokens = round(step_tokens / training.accumulate_batches)
    selection = numerics.configure_numerics(
        model,
        select_device(components),
        tokens=tokens,
        masked_tokens=round(tokens * components.masking.rate),
        linear=requested_numerics.linear,
        tf32=requested_numerics.tf32,
        compiled=requested_numerics.compile,
        onednn_matmuls=resumed_numerics.get("onednn", requested_numerics.onednn_matmuls),
        threads=resumed_numerics.get("threads", requested_numerics.threads),
    )
    return {**selection, "precision": str(components.trainer.keywords["precision"] or "32-true")}


@contextmanager
def _prefix_errors(key: str) -> Iterator[None]:
    """Prefix the keys of errors that are raised in the `with` block with a configuration key."""
    try:
        yield
    except WinnowError as error:
        raise error.with_prefix(key) from error
