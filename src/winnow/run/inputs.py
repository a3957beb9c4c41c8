"""From a dataset to what a training needs: corpus, verdicts, training rows, held-out slices and tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.config import Cell, TrainConfig
from winnow.data import Corpus
from winnow.data.corpus import EXTERNAL, SplitName
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Selection, Verdicts, Without
from winnow.run.components import Parts, load_corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from winnow.training import Masking, TokenRows

HELD_OUT: Final[tuple[SplitName, ...]] = ("validation", "test")


@dataclass(frozen=True)
class Ready:
    """Everything a training needs, made before its first step.

    `verdicts` and `members` are by filter and by slice name; `members` tells for each held-out split which rows are in
    a slice.
    """

    corpus: Corpus
    verdicts: dict[str, Verdicts]
    train_rows: pa.Table
    held_out: dict[str, pa.Table]
    members: dict[str, dict[str, npt.NDArray[np.bool_]]]
    tokenizer: PreTrainedTokenizerFast
    masking: Masking
    tokens: dict[str, TokenRows]


def prepare(config: TrainConfig, parts: Parts) -> Ready:
    """Make the corpus, judge its rows, choose the training rows and turn all into tokens."""
    from winnow.training import tokenize

    cache = config.output_dir / "cache"
    corpus = load_corpus(parts.dataset, cache)
    verdicts = {name: judge(one, corpus, cache, parts.key_of(name)) for name, one in parts.slices.items()}
    train_rows = parts.filter.select(corpus.split("train"), verdicts.get(parts.judge), config.seed)
    held_out = held_out_rows(corpus, config.evaluation.max_rows)
    members = {name: slices_of(rows, verdicts) for name, rows in held_out.items()}
    try:
        tokenizer = parts.model.tokenizer(corpus, cache)
    except WinnowError as error:
        raise error.under("model") from error
    try:
        masking = parts.masking.for_tokenizer(tokenizer)
    except WinnowError as error:
        raise error.under("masking") from error
    length = config.training.max_length
    tokens = {name: tokenize(rows, tokenizer, length, cache) for name, rows in held_out.items()}
    tokens["train"] = _training_tokens(config, corpus, train_rows, tokenizer)
    return Ready(corpus, verdicts, train_rows, held_out, members, tokenizer, masking, tokens)


def _training_tokens(
    config: TrainConfig, corpus: Corpus, rows: pa.Table, tokenizer: PreTrainedTokenizerFast
) -> TokenRows:
    """Take the chosen rows from the tokens of the whole train split, which all arms of a study share."""
    from winnow.training import to_blocks, tokenize

    training, whole = config.training, corpus.split("train")
    in_blocks = training.batching == "blocks"
    tokens = tokenize(whole, tokenizer, None if in_blocks else training.max_length, config.output_dir / "cache")
    chosen = tokens.take(pc.is_in(whole["row_id"], value_set=rows["row_id"].combine_chunks()).to_numpy())
    return to_blocks(chosen, training.block_size, training.keep_rows_apart) if in_blocks else chosen


def judge_filters(cells: Sequence[Cell[TrainConfig]], parts: Sequence[Parts]) -> list[str]:
    """Judge all filters of a study once, before any training, so that one that keeps nothing is told at once.

    Returns:
        A sentence for each arm that is a filter less a signal and yet trains on the very rows of the whole.
    """
    pairs = list(zip(cells, parts, strict=True))
    own = [(cell, part, name) for cell, part in pairs for name in part.slices if name == part.judge]
    others = [(cell, part, name) for cell, part in pairs for name in part.slices if name != part.judge]
    faults: dict[str, WinnowError] = {}
    same: dict[str, str] = {}
    for cell, part, name in own + others:  # a filter is told of where it is an arm rather than where it names a slice
        cache = cell.config.output_dir / "cache"
        corpus = load_corpus(part.dataset, cache)
        verdicts = judge(part.slices[name], corpus, cache, part.key_of(name))
        if name == part.judge and isinstance(part.filter, Without):
            try:
                part.filter.select(corpus.split("train"), verdicts, cell.config.seed)
            except WinnowError as fault:
                faults.setdefault(str(fault), fault.under("filter"))
            else:
                rest = part.filter.explained_by(verdicts).kept("train")
                if part.filter.signal is not None and np.array_equal(rest, verdicts.kept("train")):
                    told = f"as {name} does, since '{part.filter.signal}' removes nothing that the others keep"
                    same[part.filter.name] = f"{part.filter.name} trains on the very same rows {told}."
    if faults:
        raise WinnowErrors(faults.values())
    return list(same.values())


def judge(selection: Selection, corpus: Corpus, cache: Path, key: str) -> Verdicts:
    """Return the verdicts of a filter on all rows; a fault is told under its key."""
    try:
        verdicts = selection.judge(corpus, cache)
    except WinnowError as error:
        raise error.under(key) from error
    assert verdicts is not None, "only `full` judges nothing, and it names no slice"
    return verdicts


def held_out_rows(corpus: Corpus, limit: int | None) -> dict[str, pa.Table]:
    """Return the rows that models are measured on, by the name of their split; the same for every arm."""
    rows: dict[str, pa.Table] = {name: _first_rows(corpus.split(name), limit) for name in HELD_OUT}
    external = corpus.split(EXTERNAL)
    sets = [external.filter(pc.equal(external["source"], name)) for name in external["source"].unique().to_pylist()]
    return {**rows, EXTERNAL: pa.concat_tables([_first_rows(one, limit) for one in sets])} if sets else rows


def _first_rows(rows: pa.Table, limit: int | None) -> pa.Table:
    """Return the first rows by row id: a fixed sample, since the id is a hash of the text."""
    if limit is None or rows.num_rows <= limit:
        return rows
    order = np.argsort(rows["row_id"].to_numpy())
    return rows.take(np.sort(order[:limit]))


def slices_of(rows: pa.Table, verdicts: Mapping[str, Verdicts]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each slice which of the rows belong to it: all, each source, and what each filter keeps and removes.

    A single source is no slice, since it is the same as `all`; an external set is one by its bare name.
    """
    members = {"all": np.ones(rows.num_rows, dtype=bool)}
    sources = pc.unique(rows["source"]).to_pylist()
    external = rows["split"].unique().to_pylist() == [EXTERNAL]
    if len(sources) > 1 or external:
        group = "" if external else "source/"
        members |= {group + _plain(name): pc.equal(rows["source"], name).to_numpy() for name in sorted(sources)}
    for name, judged in verdicts.items():
        kept = judged.table.filter(judged.table["keep"])["row_id"].combine_chunks()
        inside = pc.is_in(rows["row_id"], value_set=kept).to_numpy()
        members |= {f"{name}/kept": inside, f"{name}/removed": ~inside}
    return members


def _plain(name: str) -> str:
    """Return a source's name in the letters that MLflow allows for metrics.

    >>> _plain("reviews (2024)/a")
    'reviews _2024__a'
    """
    return re.sub(r"[^A-Za-z0-9_. -]", "_", name)
