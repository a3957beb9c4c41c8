"""Masking rules, which select the tokens to predict and replace them in the input."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerFast

    from winnow.training.counter_rng import UInt64Array
    from winnow.training.tokenization import TokenRows

    BoolArray = npt.NDArray[np.bool_]

IGNORE_INDEX = -100
"""The label of unmasked tokens. PyTorch's cross-entropy ignores this label by default."""

_FORBID_EXTRA_FIELDS = ConfigDict(extra="forbid")
_Fraction = Annotated[float, Field(ge=0, le=1)]
_PositiveFraction = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=_FORBID_EXTRA_FIELDS)
class Masking:
    """BERT's dynamic masking of single tokens (Devlin et al. 2019, section 3.1).

    Each token that is not a special token is selected independently with probability ``rate``. Of the selected tokens,
    a fraction ``mask_share`` is replaced by the mask token, and a fraction ``random_share`` by a random token, drawn
    uniformly from all tokens except special tokens. The remaining selected tokens are not replaced.

    Attributes:
        rate: The probability that a token is selected.
        final_rate: The selection probability at the end of training; the rate changes linearly, for example from 30%
            to 15% (Yang et al. 2023, "Learning better masking for better language model pre-training"). ``None`` keeps
            the rate constant.
        mask_share: Fraction of the selected tokens that are replaced by the mask token.
        random_share: Fraction of the selected tokens that are replaced by a random token.
    """

    rate: _PositiveFraction = 0.15
    final_rate: _PositiveFraction | None = None
    mask_share: _Fraction = 0.8
    random_share: _Fraction = 0.1

    def __post_init__(self) -> None:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise WinnowError(
                f"expected mask_share + random_share to be at most 1, got {self.mask_share} + {self.random_share}. "
                "Lower one of the two values.",
                key="random_share",
            )

    def for_tokenizer(self, tokenizer: PreTrainedTokenizerFast) -> Masking:
        """Return this masking rule, prepared for a tokenizer. The default implementation returns the rule unchanged.

        Raises:
            WinnowError: If the masking rule cannot be used with this tokenizer.
        """
        return self

    def rate_at(self, progress: float) -> float:
        """Return the selection probability after the given fraction of the training budget."""
        return self.rate if self.final_rate is None else self.rate + progress * (self.final_rate - self.rate)

    def apply(
        self, rows: TokenRows, seed: int, epoch: int | npt.NDArray[np.integer] = 0, progress: float = 0.0
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Mask tokens in the given rows, and return the input ids and the labels.

        The result for each token is a function of the seed, epoch, row, position in the row, tokenizer and rate.

        Args:
            rows: The rows, without padding.
            seed: The run's seed, or the seed for the fixed masks of held-out rows.
            epoch: The epoch, as a single number or as one number per row.
            progress: Fraction of the training budget spent so far; used only if ``final_rate`` is set.

        Returns:
            The input ids and the labels. The label of a masked token is its original id, and the label of any other
            token is :data:`IGNORE_INDEX`. Both arrays have shape ``(tokens,)``.
        """
        import numpy as np

        from winnow.training.counter_rng import derive_key, draw_uniform

        vocabulary = rows.vocabulary
        row_keys = np.broadcast_to(derive_key(seed, int(vocabulary.fingerprint, 16), epoch, rows.keys), len(rows))
        is_selected = self._select_tokens(rows, row_keys, self.rate_at(progress))
        indices = np.flatnonzero(is_selected & ~vocabulary.is_special[rows.ids])

        # Each token uses three counters: one each for its selection, its kind of replacement and its random token.
        token_keys, counters = np.repeat(row_keys, rows.lengths)[indices], 3 * rows.positions[indices]
        replacement_draws = draw_uniform(token_keys, counters + 1)
        is_masked = replacement_draws < self.mask_share
        is_random = ~is_masked & (replacement_draws < self.mask_share + self.random_share)
        random_indices = (draw_uniform(token_keys, counters + 2) * len(vocabulary.regular_ids)).astype(np.int64)
        original = rows.ids[indices]
        replacements = np.where(is_random, vocabulary.regular_ids[random_indices], original)

        input_ids = np.array(rows.ids, dtype=np.int32)
        input_ids[indices] = np.where(is_masked, vocabulary.mask_id, replacements)
        labels = np.full(len(rows.ids), IGNORE_INDEX, dtype=np.int64)
        labels[indices] = original
        return input_ids, labels

    def _select_tokens(self, rows: TokenRows, row_keys: UInt64Array, rate: float) -> BoolArray:
        """Return whether each token is selected, shape ``(tokens,)``; the caller excludes special tokens."""
        return _draw_below_rate(rows, row_keys, rows.positions, rate)


@dataclass(frozen=True, config=_FORBID_EXTRA_FIELDS)
class WholeWordMasking(Masking):
    """Whole-word masking: each word is selected with probability ``rate``, together with all of its tokens.

    The tokenizer's ``word_ids`` define the words. The replacement is drawn separately for each token of a word, as in
    BERT's whole-word masking models.
    """

    def _select_tokens(self, rows: TokenRows, row_keys: UInt64Array, rate: float) -> BoolArray:
        return _draw_below_rate(rows, row_keys, rows.positions[rows.word_start_indices], rate)


@dataclass(frozen=True, config=_FORBID_EXTRA_FIELDS)
class SpanMasking(Masking):
    """Masking of spans of whole words (Joshi et al. 2020, "SpanBERT", section 3.1).

    The probability that a span has ``n`` words is proportional to ``(1 - stop) ** (n - 1)``, for ``n`` up to
    ``longest``; the defaults give 3.8 words on average. Spans may overlap, and may start before the first word of the
    row. The probability that a span starts at a word is set so that every word is selected with probability ``rate``,
    at any position in the row.

    Attributes:
        stop: The probability that a span ends after any given word.
        longest: Maximum number of words in a span.
    """

    stop: _PositiveFraction = 0.2
    longest: Annotated[int, Field(gt=0, le=100)] = 10

    def _select_tokens(self, rows: TokenRows, row_keys: UInt64Array, rate: float) -> BoolArray:
        import numpy as np

        from winnow.training.counter_rng import derive_key, draw_uniform

        starts = rows.word_starts
        token_words = np.cumsum(starts) - 1  # the index of each token's word, counted across all rows
        first_tokens = np.flatnonzero(starts)
        word_rows = np.repeat(np.arange(len(rows)), rows.lengths)[first_tokens]
        # The index of each word in its row.
        word_positions = np.arange(len(first_tokens)) - token_words[rows.offsets[:-1][word_rows]]
        span_keys = derive_key(row_keys[word_rows], 1)  # separate keys, since counters of other draws count tokens
        longer_than = self._compute_tail_probabilities()
        start_probability = _find_start_probability(rate, tuple(longer_than.tolist()))
        is_covered = np.zeros(len(first_tokens), dtype=bool)
        for distance in range(self.longest):
            counters = 2 * (word_positions - distance + self.longest)
            # A span that starts `distance` words earlier covers this word if it is longer than `distance`.
            is_covered |= (draw_uniform(span_keys, counters) < start_probability) & (
                draw_uniform(span_keys, counters + 1) < longer_than[distance]
            )
        flags: BoolArray = is_covered[token_words]
        return flags

    def _compute_tail_probabilities(self) -> npt.NDArray[np.float64]:
        """Return the probabilities that a span is longer than 0, 1, ... words, shape ``(longest,)``."""
        import numpy as np

        weights = (1 - self.stop) ** np.arange(self.longest)
        tail_probabilities: npt.NDArray[np.float64] = weights[::-1].cumsum()[::-1] / weights.sum()
        return tail_probabilities


def _build_no_words_error() -> WinnowError:
    return WinnowError("expected at least one word, got none. Add words, or set `file` to a word list.", "words")


@dataclass(frozen=True, config=_FORBID_EXTRA_FIELDS)
class ListedWordMasking(Masking):
    """Masking of listed words, for example the adjectives that a probe scores.

    A listed word matches only whole words, in lowercase, capitalized, in uppercase or exactly as listed. A multi-word
    expression is selected as a unit. Rows without a listed word have no masked tokens and are skipped, unless
    ``other_rate`` is positive.

    Attributes:
        words: The listed words.
        file: A file with additional words, one per line. Only the first column of tab-separated lines is read, and
            lines that start with ``#`` are ignored.
        rate: The probability that a listed word is selected.
        other_rate: The probability that any other token is selected.
    """

    rate: _PositiveFraction = 1.0
    words: list[str] = Field(default_factory=list)
    file: Path | None = None
    other_rate: _Fraction = 0.0

    def __post_init__(self) -> None:
        if self.file is None and not any(word.strip() for word in self.words):
            raise _build_no_words_error()

    def for_tokenizer(self, tokenizer: PreTrainedTokenizerFast) -> Masking:
        """Return a copy of this masking rule that contains the token ids of its words.

        Raises:
            WinnowError: If there are no words, the file cannot be read, or all words contain unknown tokens.
        """
        import numpy as np

        words = [word for word in (*self.words, *self._read_file()) if word.strip()]
        if not words:
            raise _build_no_words_error()
        spellings = {
            f"{space}{spelling}"
            for word in words
            for spelling in (word, word.lower(), word.capitalize(), word.upper())
            for space in ("", " ")  # in byte-level tokenizers the first token of a word includes the space before it
        }
        hashes_by_length: dict[int, set[int]] = {}
        for ids in tokenizer(sorted(spellings), add_special_tokens=False)["input_ids"]:
            if ids and tokenizer.unk_token_id not in ids:
                sequence_hash = int(_hash_ngrams(np.array(ids, dtype=np.int32), len(ids))[0])
                hashes_by_length.setdefault(len(ids), set()).add(sequence_hash)
        if not hashes_by_length:
            raise WinnowError(
                f"each of the {len(words)} words contains tokens unknown to the tokenizer, for example {words[0]!r}. "
                "List different words.",
                "words",
            )
        prepared = copy.copy(self)
        word_hashes = {length: np.array(sorted(hashes), dtype=np.uint64) for length, hashes in hashes_by_length.items()}
        object.__setattr__(prepared, "_word_hashes", word_hashes)
        return prepared

    def _read_file(self) -> list[str]:
        if self.file is None:
            return []
        try:
            lines = self.file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WinnowError(
                f"the word list {self.file} cannot be read: {error}. Use a UTF-8 text file with one word per line.",
                "file",
            ) from error
        return [line.split("\t")[0].strip() for line in lines if not line.startswith("#")]

    def _select_tokens(self, rows: TokenRows, row_keys: UInt64Array, rate: float) -> BoolArray:
        import numpy as np

        word_hashes: dict[int, UInt64Array] | None = getattr(self, "_word_hashes", None)
        if word_hashes is None:
            raise RuntimeError("the listed words are not tokenized; call for_tokenizer() and use the returned copy")
        is_drawn = _draw_below_rate(rows, row_keys, rows.positions, rate)
        is_listed, is_selected = np.zeros(len(rows.ids), dtype=bool), np.zeros(len(rows.ids), dtype=bool)
        token_rows = np.repeat(np.arange(len(rows)), rows.lengths)
        starts = np.append(rows.word_starts, True)
        for length, hashes in word_hashes.items():
            windows = len(rows.ids) - length + 1
            if windows <= 0:
                continue
            in_one_row = token_rows[:windows] == token_rows[length - 1 :]
            is_whole_word = starts[:windows] & starts[length:] & in_one_row
            matches = np.flatnonzero(is_whole_word & np.isin(_hash_ngrams(rows.ids, length), hashes))
            matched_tokens = matches[:, None] + np.arange(length)
            is_listed[matched_tokens] = True
            is_selected[matched_tokens[is_drawn[matches]]] = True
        is_other: BoolArray = ~is_listed & _draw_below_rate(rows, row_keys, rows.positions, self.other_rate)
        return is_selected | is_other


def _draw_below_rate(
    rows: TokenRows, row_keys: UInt64Array, positions: npt.NDArray[np.int64], rate: float
) -> BoolArray:
    """Return whether each token's uniform draw, a function of its row key and position, is below a rate."""
    import numpy as np

    from winnow.training.counter_rng import draw_uniform

    return draw_uniform(np.repeat(row_keys, rows.lengths), 3 * positions) < rate


def _hash_ngrams(ids: npt.NDArray[np.int32], length: int) -> UInt64Array:
    """Return a hash of each n-gram of ``length`` tokens, shape ``(tokens - length + 1,)``."""
    import numpy as np

    from winnow.training.counter_rng import derive_key

    count = len(ids) - length + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(length):
        hashes += derive_key(offset, ids[offset : offset + count])
    return hashes


@functools.lru_cache(maxsize=1024)
def _find_start_probability(rate: float, longer_than: tuple[float, ...]) -> float:
    """Find the span-start probability for which each word is masked with probability ``rate``, by bisection.

    A word is not covered if, for every distance ``d``, no span that starts ``d`` words earlier is longer than ``d``.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle, uncovered_probability = (low + high) / 2, 1.0
        for tail_probability in longer_than:
            uncovered_probability *= 1 - middle * tail_probability
        low, high = (middle, high) if 1 - uncovered_probability < rate else (low, middle)
    return high
