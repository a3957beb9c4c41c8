"""Which tokens the model must guess, and what it sees in their place."""

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

    from winnow.training.counter_rng import UInts
    from winnow.training.tokens import TokenRows

    Flags = npt.NDArray[np.bool_]

IGNORED = -100
"""The label of a token that is not to be guessed; what PyTorch's cross entropy leaves out by default."""

_STRICT = ConfigDict(extra="forbid")
_Share = Annotated[float, Field(ge=0, le=1)]
_Rate = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=_STRICT)
class Masking:
    """Dynamic masking of single tokens, as BERT does it (Devlin et al. 2019, 3.1).

    Each token that is not special is chosen with chance ``rate``, independently. Of the chosen tokens ``mask_share``
    become the mask token, ``random_share`` a token drawn evenly from those that are not special, and the rest stay as
    they are.

    Attributes:
        rate: The chance of a token to be chosen.
        final_rate: The chance at the end of the budget; it moves there in a straight line, as from 30% to 15% (Yang et
            al. 2023, "Learning better masking for better language model pre-training"). ``None`` keeps the rate.
        mask_share: Share of the chosen tokens that the mask token replaces.
        random_share: Share of the chosen tokens that a random token replaces.
    """

    rate: _Rate = 0.15
    final_rate: _Rate | None = None
    mask_share: _Share = 0.8
    random_share: _Share = 0.1

    def __post_init__(self) -> None:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise WinnowError(
                f"mask_share ({self.mask_share}) and random_share ({self.random_share}) are shares of the "
                "same tokens, so together they may be at most 1. Lower one of them.",
                key="random_share",
            )

    def for_tokenizer(self, tokenizer: PreTrainedTokenizerFast) -> Masking:
        """Return this masking, ready for rows of a tokenizer; most need nothing of it.

        Raises:
            WinnowError: The masking cannot work with this tokenizer.
        """
        return self

    def rate_at(self, progress: float) -> float:
        """Return the chance of a token after a share of the budget."""
        return self.rate if self.final_rate is None else self.rate + progress * (self.final_rate - self.rate)

    def draw(
        self, rows: TokenRows, seed: int, epoch: int | npt.NDArray[np.integer] = 0, progress: float = 0.0
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Mask rows: a pure function of seed, epoch, row, position in the row and tokenizer, and of the rate.

        Args:
            rows: The rows, without padding.
            seed: Seed of the run, or of the fixed masks on held-out rows.
            epoch: How often these rows were seen before: one number, or one for each row.
            progress: Share of the budget that is spent; it matters where the rate moves.

        Returns:
            What the model sees and what it must guess (:data:`IGNORED` elsewhere), each of shape
            ``(tokens,)``.
        """
        import numpy as np

        from winnow.training.counter_rng import key, uniform

        vocabulary = rows.vocabulary
        keys = np.broadcast_to(key(seed, int(vocabulary.fingerprint, 16), epoch, rows.keys), len(rows))
        chosen = self._choose(rows, keys, self.rate_at(progress))
        at = np.flatnonzero(chosen & ~vocabulary.is_special[rows.ids])

        tokens, counters = np.repeat(keys, rows.lengths)[at], 3 * rows.positions[at]
        fate = uniform(tokens, counters + 1)
        masked = fate < self.mask_share
        replaced = ~masked & (fate < self.mask_share + self.random_share)
        drawn = (uniform(tokens, counters + 2) * len(vocabulary.ordinary)).astype(np.int64)
        original = rows.ids[at]
        seen = np.where(masked, vocabulary.mask_id, np.where(replaced, vocabulary.ordinary[drawn], original))

        input_ids = np.array(rows.ids, dtype=np.int32)
        input_ids[at] = seen
        labels = np.full(len(rows.ids), IGNORED, dtype=np.int64)
        labels[at] = original
        return input_ids, labels

    def _choose(self, rows: TokenRows, keys: UInts, rate: float) -> Flags:
        """Return which tokens are chosen, shape ``(tokens,)``; special ones are left out afterwards."""
        return _below(rows, keys, rows.positions, rate)


@dataclass(frozen=True, config=_STRICT)
class WholeWordMasking(Masking):
    """All tokens of a word are chosen or none; a word is chosen with chance ``rate``.

    A word is what the tokenizer's ``word_ids`` call one: what it split the text into before it cut words into tokens.
    What becomes of a chosen token is drawn for each on its own, as in BERT's whole-word models.
    """

    def _choose(self, rows: TokenRows, keys: UInts, rate: float) -> Flags:
        return _below(rows, keys, rows.positions[rows.word_firsts], rate)


@dataclass(frozen=True, config=_STRICT)
class SpanMasking(Masking):
    """Spans of whole words are chosen (Joshi et al. 2020, "SpanBERT", 3.1).

    A span's length is ``n`` words with a chance in proportion to ``(1 - stop) ** (n - 1)``, up to ``longest``: 3.8 on
    average with the values given. Spans start anywhere, also before the row, and may overlap; how often is such that
    every word is chosen with chance ``rate``, wherever it stands.

    Attributes:
        stop: The chance of a span to end after each word.
        longest: Words in a span at most.
    """

    stop: _Rate = 0.2
    longest: Annotated[int, Field(gt=0, le=100)] = 10

    def _choose(self, rows: TokenRows, keys: UInts, rate: float) -> Flags:
        import numpy as np

        from winnow.training.counter_rng import key, uniform

        starts = rows.word_starts
        word = np.cumsum(starts) - 1  # of each token, over all rows
        first = np.flatnonzero(starts)
        row = np.repeat(np.arange(len(rows)), rows.lengths)[first]
        number = np.arange(len(first)) - word[rows.offsets[:-1][row]]  # of each word in its row
        spans = key(keys[row], 1)  # a stream of its own, since other draws count tokens
        longer = self._longer_than()
        chance = _start_chance(rate, tuple(longer.tolist()))
        covered = np.zeros(len(first), dtype=bool)
        for distance in range(self.longest):
            start = 2 * (number - distance + self.longest)
            # A span that started so many words before reaches here if it is longer than that.
            covered |= (uniform(spans, start) < chance) & (uniform(spans, start + 1) < longer[distance])
        flags: Flags = covered[word]
        return flags

    def _longer_than(self) -> npt.NDArray[np.float64]:
        """Return the chance of a span to be longer than 0, 1, ... words, shape ``(longest,)``."""
        import numpy as np

        lengths = (1 - self.stop) ** np.arange(self.longest)
        longer: npt.NDArray[np.float64] = lengths[::-1].cumsum()[::-1] / lengths.sum()
        return longer


@dataclass(frozen=True, config=_STRICT)
class ChosenWordMasking(Masking):
    """Words of a list are chosen, as a probe asks for them: adjectives, say.

    A listed word is found as a whole word, as the tokenizer splits the text; in any case for a tokenizer that knows
    none, else as it is written, capitalised and in capitals. A listed expression of several words is chosen as one. A
    row that holds none takes no part in a step, unless other words are chosen too.

    Attributes:
        words: The words.
        file: More words, one a line; of a lexicon with columns, the first. Lines that begin with `#` are left out.
        rate: The chance of a listed word to be chosen.
        other_rate: The chance of every other token.
    """

    rate: _Rate = 1.0
    words: list[str] = Field(default_factory=list)
    file: Path | None = None
    other_rate: _Share = 0.0

    def for_tokenizer(self, tokenizer: PreTrainedTokenizerFast) -> Masking:
        """Return this masking with the tokens of its words.

        Raises:
            WinnowError: There is no word, or the file cannot be read, or the tokenizer knows none of the words.
        """
        import numpy as np

        words = [word for word in (*self.words, *self._from_file()) if word.strip()]
        if not words:
            raise WinnowError("There is no word to mask. List some, or name a file with one word a line.", "words")
        forms = {
            f"{space}{form}"
            for word in words
            for form in (word, word.lower(), word.capitalize(), word.upper())
            for space in ("", " ")  # for byte-level tokenizers a word begins with its space
        }
        by_length: dict[int, set[int]] = {}
        for ids in tokenizer(sorted(forms), add_special_tokens=False)["input_ids"]:
            if ids and tokenizer.unk_token_id not in ids:
                by_length.setdefault(len(ids), set()).add(int(_names(np.array(ids, dtype=np.int32), len(ids))[0]))
        if not by_length:
            raise WinnowError(
                f"The tokenizer knows none of the {len(words)} words, such as {words[0]!r}. List others.",
                "words",
            )
        ready = copy.copy(self)
        found = {length: np.array(sorted(names), dtype=np.uint64) for length, names in by_length.items()}
        object.__setattr__(ready, "_found", found)
        return ready

    def _from_file(self) -> list[str]:
        if self.file is None:
            return []
        try:
            lines = self.file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise WinnowError(f"The word list {self.file} cannot be read: {fault}.", "file") from fault
        return [line.split("\t")[0].strip() for line in lines if not line.startswith("#")]

    def _choose(self, rows: TokenRows, keys: UInts, rate: float) -> Flags:
        import numpy as np

        found: dict[int, UInts] | None = getattr(self, "_found", None)
        if found is None:
            raise RuntimeError("call for_tokenizer first: words are found by their tokens")
        wanted = _below(rows, keys, rows.positions, rate)
        listed, chosen = np.zeros(len(rows.ids), dtype=bool), np.zeros(len(rows.ids), dtype=bool)
        row = np.repeat(np.arange(len(rows)), rows.lengths)
        starts = np.append(rows.word_starts, True)
        for length, names in found.items():
            places = len(rows.ids) - length + 1
            if places <= 0:
                continue
            whole = starts[:places] & starts[length:] & (row[:places] == row[length - 1 :])
            hits = np.flatnonzero(whole & np.isin(_names(rows.ids, length), names))
            inside = hits[:, None] + np.arange(length)
            listed[inside] = True
            chosen[inside[wanted[hits]]] = True
        others: Flags = ~listed & _below(rows, keys, rows.positions, self.other_rate)
        return chosen | others


def _below(rows: TokenRows, keys: UInts, counters: npt.NDArray[np.int64], rate: float) -> Flags:
    """Return which tokens' draws fall below a rate; the draw belongs to the row and the counter."""
    import numpy as np

    from winnow.training.counter_rng import uniform

    return uniform(np.repeat(keys, rows.lengths), 3 * counters) < rate


def _names(ids: npt.NDArray[np.int32], length: int) -> UInts:
    """Return a hash of the `length` tokens from each place on."""
    import numpy as np

    from winnow.training.counter_rng import key

    places = len(ids) - length + 1
    names = np.zeros(places, dtype=np.uint64)
    for place in range(length):
        names += key(place, ids[place : place + places])
    return names


@functools.lru_cache(maxsize=1024)
def _start_chance(rate: float, longer: tuple[float, ...]) -> float:
    """Return how often spans must start so that a word is covered with chance ``rate``, by bisection.

    A word stays free if no span that started ``d`` words before is longer than ``d``, for every ``d``.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle, free = (low + high) / 2, 1.0
        for reach in longer:
            free *= 1 - middle * reach
        low, high = (middle, high) if 1 - free < rate else (low, middle)
    return high
