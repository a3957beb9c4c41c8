"""Tokenised rows: flat arrays that are made once, cached and memory-mapped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.data.cache import intact, published
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.training.counter_rng import UInts, key, mix
from winnow.training.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORD, DOCUMENT = 1, 2
"""Bits of :attr:`TokenRows.marks`: a word, a document begins here."""

_ARRAYS = ("ids", "offsets", "keys", "marks")
_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows of tokens without padding.

    Attributes:
        ids: All tokens one after the other, separators included; int32, shape ``(tokens,)``.
        offsets: Where each row starts, and at the end the number of tokens; int64, shape ``(rows + 1,)``.
        keys: What each row is known by, wherever it stands; uint64, shape ``(rows,)``. The ``row_id`` read as
            a number.
        vocabulary: The ids of the tokenizer that made them.
        truncated: How many rows were cut off at ``max_length``.
        marks: What begins at each token, as bits: :data:`WORD`, :data:`DOCUMENT`; uint8, shape ``(tokens,)``. Where
            they are ``None`` each token is a word and each row a document.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    keys: UInts
    vocabulary: Vocabulary
    truncated: int = 0
    marks: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row."""
        return np.diff(self.offsets)

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Where each token stands in its row, shape ``(tokens,)``."""
        return np.arange(len(self.ids)) - np.repeat(self.offsets[:-1], self.lengths)

    @property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """Whether a word begins at each token, shape ``(tokens,)``; what a row begins with counts as a word's start."""
        if self.marks is None:
            return np.ones(len(self.ids), dtype=bool)
        starts: npt.NDArray[np.bool_] = self.marks & WORD > 0
        starts[self.offsets[:-1][self.lengths > 0]] = True
        return starts

    @property
    def word_firsts(self) -> npt.NDArray[np.int64]:
        """Where the word that each token is of begins, shape ``(tokens,)``."""
        return np.maximum.accumulate(np.where(self.word_starts, np.arange(len(self.ids)), 0))

    @property
    def sequence_lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each part of a row that attends to itself alone, row after row."""
        if self.marks is None:
            return self.lengths
        starts = np.union1d(np.flatnonzero(self.marks & DOCUMENT), self.offsets[:-1][self.lengths > 0])
        return np.diff(starts, append=len(self.ids))

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> TokenRows:
        """Return the chosen rows, in the order asked for.

        Args:
            rows: Row numbers, or one flag for each row.
        """
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        if rows.dtype == bool and len(chosen) == len(self):
            return self  # so that the arm with all rows reads them from the cache's file
        lengths = self.lengths[chosen]
        offsets = _offsets(lengths)
        where = np.repeat(self.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        marks = None if self.marks is None else self.marks[where]
        return TokenRows(self.ids[where], offsets, self.keys[chosen], self.vocabulary, marks=marks)


def tokenize(table: pa.Table, tokenizer: PreTrainedTokenizerFast, max_length: int | None, cache_dir: Path) -> TokenRows:
    """Tokenise the rows of a table, or open what an earlier call with the same rows left in the cache.

    Args:
        table: ``row_id`` (16 hex digits) and ``text``.
        tokenizer: A fast tokenizer.
        max_length: Tokens after which a row is cut off, separators included; ``None`` cuts none.
        cache_dir: Holds ``tokens/<fingerprint>/`` with one ``.npy`` file for each array.

    Raises:
        WinnowError: ``max_length`` is more than the model reads.
    """
    vocabulary = Vocabulary.of(tokenizer)
    _check_length(max_length, vocabulary, "training.max_length")
    name = fingerprint("tokens with words", _content(table), vocabulary.fingerprint, max_length)
    folder = cache_dir / "tokens" / name
    if not intact(folder):
        with published(folder) as draft:
            draft.mkdir()
            _build(table, tokenizer, max_length, draft)
    ids, offsets, keys, marks = (np.load(folder / f"{part}.npy", mmap_mode="r") for part in _ARRAYS)
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    return TokenRows(ids, offsets, keys, vocabulary, facts["truncated"], marks)


def to_blocks(rows: TokenRows, block_size: int, apart: bool = True) -> TokenRows:
    """Join all rows, separators included, and cut every ``block_size`` tokens.

    No token is lost; the last block is shorter. A block is known by a hash of its tokens, so its masks do not
    depend on where it stands.

    Args:
        rows: The rows.
        block_size: Tokens in a block.
        apart: Let the rows in a block not see each other, each with positions of its own, as if they were alone.
            Otherwise a block is one text with separators in it.

    Raises:
        WinnowError: ``block_size`` is more than the model reads.
    """
    _check_length(block_size, rows.vocabulary, "training.block_size")
    total = len(rows.ids)
    offsets = np.append(np.arange(0, total, block_size), total).astype(np.int64)
    places = mix(np.arange(total) % block_size)
    # A sum of hashes of (place, token), modulo 2**64: order matters, and it is one pass over the array.
    keys = np.add.reduceat(key(places, rows.ids), offsets[:-1]) if total else np.zeros(0, dtype=np.uint64)
    marks = np.full(total, WORD, dtype=np.uint8)
    if rows.marks is not None:
        marks &= rows.marks
    if apart:
        marks[rows.offsets[:-1][rows.lengths > 0]] |= DOCUMENT
    offsets = offsets if total else np.zeros(1, dtype=np.int64)
    return TokenRows(rows.ids, offsets, keys, rows.vocabulary, rows.truncated, marks)


def _build(table: pa.Table, tokenizer: PreTrainedTokenizerFast, max_length: int | None, folder: Path) -> None:
    ids: list[npt.NDArray[np.int32]] = []
    words: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    truncated = 0
    for texts in _batches(table["text"]):
        encoded = tokenizer(
            texts,
            truncation=max_length is not None,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        rows = encoded["input_ids"]
        lengths.extend(map(len, rows))
        ids.append(np.fromiter((token for row in rows for token in row), dtype=np.int32))
        # The numbers of words, by what the tokenizer split a text into; separators are of none.
        numbers = (number for encoding in encoded.encodings for number in encoding.word_ids)
        words.append(np.fromiter((-1 if number is None else number for number in numbers), dtype=np.int32))
        if max_length is not None:
            full = (i for i, row in enumerate(rows) if len(row) >= max_length)
            truncated += sum(bool(encoded.encodings[i].overflowing) for i in full)
    np.save(folder / "ids.npy", np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32))
    offsets = _offsets(np.array(lengths, dtype=np.int64))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "marks.npy", _marks(np.concatenate(words) if words else np.zeros(0, dtype=np.int32), offsets))
    np.save(folder / "keys.npy", _keys(table["row_id"]))
    (folder / "facts.json").write_text(json.dumps({"truncated": truncated}) + "\n", "utf-8")


def _marks(words: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    marks = np.full(len(words), WORD, dtype=np.uint8)
    marks[1:][(words[1:] == words[:-1]) & (words[1:] >= 0)] = 0
    marks[offsets[:-1][np.diff(offsets) > 0]] = WORD | DOCUMENT
    return marks


def _check_length(length: int | None, vocabulary: Vocabulary, key: str) -> None:
    if length is not None and length > vocabulary.longest:
        raise WinnowError(
            f"Rows of {length} tokens are longer than the {vocabulary.longest} that the model reads. Give no more.",
            key=key,
        )


def _batches(column: pa.ChunkedArray) -> Iterator[list[str]]:
    for start in range(0, len(column), _ROWS_AT_ONCE):
        yield column.slice(start, _ROWS_AT_ONCE).to_pylist()


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _keys(row_ids: pa.ChunkedArray) -> UInts:
    try:
        return np.array([int(row_id, 16) for row_id in row_ids.to_pylist()], dtype=np.uint64)
    except (ValueError, OverflowError) as fault:
        raise WinnowError(
            f"A row id must be 16 hex digits, the hash of the row's text: {fault}.", key="row_id"
        ) from fault


def _content(table: pa.Table) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for row_id, text in zip(table["row_id"].to_pylist(), table["text"].to_pylist(), strict=True):
        # A length before the text, so that no two tables spell the same bytes.
        digest.update(f"{row_id}{len(text)}:{text}".encode())
    return digest.hexdigest()
