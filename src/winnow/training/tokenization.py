"""Tokenize rows into flat arrays, which are cached on disk and memory-mapped."""

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

from winnow.data.cache import is_intact, publish_folder
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.training.counter_rng import UInt64Array, derive_key, splitmix64
from winnow.training.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORD_START, SEQUENCE_START = 1, 2
"""Bit flags in :attr:`TokenRows.boundaries`, which mark the first token of a word and the first token of a sequence."""

_ARRAY_FILES = ("ids", "offsets", "keys", "marks")
_TEXTS_PER_BATCH = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class TokenRows:
    """Tokenized rows without padding.

    Attributes:
        ids: The concatenated token ids of all rows, including special tokens; int32, shape ``(tokens,)``.
        offsets: The start of each row in ``ids``, followed by the total number of tokens; int64, shape ``(rows + 1,)``.
        keys: Each row's ``row_id`` as an integer, which does not depend on the row order; uint64, shape ``(rows,)``.
        vocabulary: The tokenizer's vocabulary.
        truncated: The number of rows that were truncated to ``max_length``.
        boundaries: Each token's :data:`WORD_START` and :data:`SEQUENCE_START` bits; uint8, shape ``(tokens,)``.
            ``None`` means that each token is a word and each row is a sequence.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    keys: UInt64Array
    vocabulary: Vocabulary
    truncated: int = 0
    boundaries: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens in each row, shape ``(rows,)``."""
        return np.diff(self.offsets)

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """The position of each token in its row, shape ``(tokens,)``."""
        return np.arange(len(self.ids)) - np.repeat(self.offsets[:-1], self.lengths)

    @property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """Whether each token starts a word, shape ``(tokens,)``; the first token of a row always does."""
        if self.boundaries is None:
            return np.ones(len(self.ids), dtype=bool)
        starts: npt.NDArray[np.bool_] = self.boundaries & WORD_START > 0
        starts[self.offsets[:-1][self.lengths > 0]] = True
        return starts

    @property
    def word_start_indices(self) -> npt.NDArray[np.int64]:
        """For each token, the index of the first token of its word, shape ``(tokens,)``."""
        return np.maximum.accumulate(np.where(self.word_starts, np.arange(len(self.ids)), 0))

    @property
    def sequence_lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens in each sequence; tokens attend only to tokens in the same sequence."""
        if self.boundaries is None:
            return self.lengths
        starts = np.union1d(np.flatnonzero(self.boundaries & SEQUENCE_START), self.offsets[:-1][self.lengths > 0])
        return np.diff(starts, append=len(self.ids))

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> TokenRows:
        """Return the selected rows in the given order.

        Args:
            rows: Row indices, or a boolean mask with one entry per row.
        """
        indices = np.flatnonzero(rows) if rows.dtype == bool else rows
        if rows.dtype == bool and len(indices) == len(self):
            return self  # avoids a copy of the memory-mapped arrays
        lengths = self.lengths[indices]
        offsets = _compute_offsets(lengths)
        tokens = np.repeat(self.offsets[indices] - offsets[:-1], lengths) + np.arange(offsets[-1])
        boundaries = None if self.boundaries is None else self.boundaries[tokens]
        return TokenRows(self.ids[tokens], offsets, self.keys[indices], self.vocabulary, boundaries=boundaries)


def tokenize(table: pa.Table, tokenizer: PreTrainedTokenizerFast, max_length: int | None, cache_dir: Path) -> TokenRows:
    """Tokenize the rows of a table, or load the tokenized rows from the cache.

    Args:
        table: A table with the columns ``row_id`` (16 hex digits) and ``text``.
        tokenizer: A fast tokenizer.
        max_length: Maximum number of tokens per row, including special tokens; ``None`` disables truncation.
        cache_dir: The cache folder; the arrays are stored as ``.npy`` files in ``tokens/<fingerprint>/``.

    Raises:
        WinnowError: If ``max_length`` exceeds the model's maximum input length.
    """
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    _check_length(max_length, vocabulary, "training.max_length")
    cache_key = fingerprint("tokens with words", _hash_table(table), vocabulary.fingerprint, max_length)
    folder = cache_dir / "tokens" / cache_key
    if not is_intact(folder):
        with publish_folder(folder) as draft:
            draft.mkdir()
            _write_arrays(table, tokenizer, max_length, draft)
    ids, offsets, keys, boundaries = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAY_FILES)
    counts = json.loads((folder / "facts.json").read_text("utf-8"))
    return TokenRows(ids, offsets, keys, vocabulary, counts["truncated"], boundaries)


def pack_into_blocks(rows: TokenRows, block_size: int, isolate_rows: bool = True) -> TokenRows:
    """Concatenate all rows, including special tokens, and split them into blocks of ``block_size`` tokens.

    No token is dropped, so the last block may be shorter. Each block's key is a hash of its tokens, so the
    masks of a block do not depend on its position among the blocks.

    Args:
        rows: The tokenized rows.
        block_size: Number of tokens per block.
        isolate_rows: Whether tokens attend only to tokens in the same row, with position ids that restart at 0 in each
            row. If false, each block is a single sequence that contains the special tokens of its rows.

    Raises:
        WinnowError: If ``block_size`` exceeds the model's maximum input length.
    """
    _check_length(block_size, rows.vocabulary, "training.block_size")
    total = len(rows.ids)
    offsets = np.append(np.arange(0, total, block_size), total).astype(np.int64)
    position_hashes = splitmix64(np.arange(total) % block_size)
    # Summing the hashes of (position, token) pairs modulo 2**64 takes a single pass, and still depends on token order.
    token_hashes = derive_key(position_hashes, rows.ids)
    keys = np.add.reduceat(token_hashes, offsets[:-1]) if total else np.zeros(0, dtype=np.uint64)
    boundaries = np.full(total, WORD_START, dtype=np.uint8)
    if rows.boundaries is not None:
        boundaries &= rows.boundaries
    if isolate_rows:
        boundaries[rows.offsets[:-1][rows.lengths > 0]] |= SEQUENCE_START
    offsets = offsets if total else np.zeros(1, dtype=np.int64)
    return TokenRows(rows.ids, offsets, keys, rows.vocabulary, rows.truncated, boundaries)


def _write_arrays(table: pa.Table, tokenizer: PreTrainedTokenizerFast, max_length: int | None, folder: Path) -> None:
    ids: list[npt.NDArray[np.int32]] = []
    words: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    truncated = 0
    for texts in _split_batches(table["text"]):
        encodings = tokenizer(
            texts,
            truncation=max_length is not None,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        rows = encodings["input_ids"]
        lengths.extend(map(len, rows))
        ids.append(np.fromiter((token for row in rows for token in row), dtype=np.int32))
        # The word index of each token within its text. Special tokens belong to no word, so their index is -1.
        word_ids = (word_id for encoding in encodings.encodings for word_id in encoding.word_ids)
        words.append(np.fromiter((-1 if word_id is None else word_id for word_id in word_ids), dtype=np.int32))
        if max_length is not None:
            full_rows = (i for i, row in enumerate(rows) if len(row) >= max_length)
            truncated += sum(bool(encodings.encodings[i].overflowing) for i in full_rows)
    np.save(folder / "ids.npy", np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32))
    offsets = _compute_offsets(np.array(lengths, dtype=np.int64))
    np.save(folder / "offsets.npy", offsets)
    token_words = np.concatenate(words) if words else np.zeros(0, dtype=np.int32)
    np.save(folder / "marks.npy", _find_boundaries(token_words, offsets))
    np.save(folder / "keys.npy", _parse_row_ids(table["row_id"]))
    (folder / "facts.json").write_text(json.dumps({"truncated": truncated}) + "\n", "utf-8")


def _find_boundaries(words: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    boundaries = np.full(len(words), WORD_START, dtype=np.uint8)
    boundaries[1:][(words[1:] == words[:-1]) & (words[1:] >= 0)] = 0
    boundaries[offsets[:-1][np.diff(offsets) > 0]] = WORD_START | SEQUENCE_START
    return boundaries


def _check_length(length: int | None, vocabulary: Vocabulary, key: str) -> None:
    if length is not None and length > vocabulary.max_length:
        raise WinnowError(
            f"expected at most {vocabulary.max_length} (the model's maximum input length), got {length}. Lower it.",
            key=key,
        )


def _split_batches(column: pa.ChunkedArray) -> Iterator[list[str]]:
    for start in range(0, len(column), _TEXTS_PER_BATCH):
        yield column.slice(start, _TEXTS_PER_BATCH).to_pylist()


def _compute_offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _parse_row_ids(row_ids: pa.ChunkedArray) -> UInt64Array:
    try:
        return np.array([int(row_id, 16) for row_id in row_ids.to_pylist()], dtype=np.uint64)
    except (ValueError, OverflowError) as error:
        raise WinnowError(
            f"a row id is not a 16-digit hexadecimal number: {error}. Use the row ids that the corpus provides.",
            key="row_id",
        ) from error


def _hash_table(table: pa.Table) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for row_id, text in zip(table["row_id"].to_pylist(), table["text"].to_pylist(), strict=True):
        # The length prefix makes the encoding unambiguous.
        digest.update(f"{row_id}{len(text)}:{text}".encode())
    return digest.hexdigest()
