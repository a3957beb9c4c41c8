"""Arms that are derived from a filter: as many rows at random, or the filter less one of its signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data import Corpus
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, did_you_mean
from winnow.filters.expression import Node, without
from winnow.filters.filter import Filter, Selection
from winnow.filters.signals.mentions import Mentions
from winnow.filters.verdicts import Verdicts

_CONTROL_STREAM = 0x77696E6E  # keeps the control's draws apart from others that use the same seed


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandomMatched(Selection):
    """As many rows as another filter keeps, drawn at random and anew for each seed.

    It shows what fewer rows do by themselves, whatever their content.

    Attributes:
        of: The filter to match in size.
        name: What the control is called.
    """

    of: InstanceOf[Filter]
    name: Annotated[str, Field(min_length=1)] = "random_matched"

    def judge(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> Verdicts:
        """Return the verdicts of the filter that is matched."""
        return _under_of(lambda: self.of.judge(corpus, cache_dir, progress))

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return as many rows as the matched filter keeps, drawn without replacement by ``seed``."""
        import numpy as np

        size = self.of.select(train_rows, verdicts, seed).num_rows
        generator = np.random.default_rng([_CONTROL_STREAM, seed])
        return train_rows.take(np.sort(generator.choice(train_rows.num_rows, size, replace=False)))

    def fingerprint(self) -> str:
        """Return a fingerprint over the matched filter."""
        return fingerprint("random_matched", self.of.fingerprint())

    def check(self) -> list[WinnowError]:
        """Return the faults of the matched filter."""
        return [fault.under("of") for fault in self.of.check()]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Without(Selection):
    """Another filter less one of its signals, to see what that signal contributes to the model.

    The other filter's verdicts are all it needs, so nothing is scored again, and its slices stay those of the filter.

    Attributes:
        of: The filter.
        signal: The signal that is taken out of its expression; null takes none out.
    """

    of: InstanceOf[Filter]
    signal: str | None = None

    def __post_init__(self) -> None:
        if self.signal is not None and self.signal not in self.of.signals:
            known = ", ".join(self.of.signals)
            hint = did_you_mean(self.signal, self.of.signals)
            raise WinnowError(
                f"The filter '{self.of.name}' has no signal '{self.signal}'.{hint} It has {known}.", "signal"
            )
        if self.signal is not None and self.of.mode == "short_circuit":
            told = "A filter can be taken apart only where every signal is asked about every row. Set mode=full."
            raise WinnowError(told, key="of.mode")
        if self._rest() is None:
            raise WinnowError(f"Without '{self.signal}' nothing is left of the filter '{self.of.name}'.", key="signal")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The filter's name, and what it is without."""
        return self.of.name if self.signal is None else f"{self.of.name}_without_{self.signal}"

    def judge(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> Verdicts:
        """Return the verdicts of the whole filter."""
        return _under_of(lambda: self.of.judge(corpus, cache_dir, progress))

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return the rows that the filter keeps without the signal.

        Raises:
            WinnowError: These are no rows, or all.
        """
        if verdicts is None:
            raise ValueError("a filter selects by its verdicts")
        kept = self.explained_by(verdicts).kept("train")
        if not 0 < kept.sum() < len(kept):
            share = "everything" if kept.any() else "nothing"
            raise WinnowError(
                f"'{self.name}' keeps {share} of the train rows, so there is nothing to compare.", "signal"
            )
        return train_rows.filter(pa.array(kept))

    def explained_by(self, verdicts: Verdicts) -> Verdicts:
        """Return the verdicts of the filter less the signal, given those of the whole."""
        return verdicts if self.signal is None else verdicts.without(self.signal, self.name)

    def fingerprint(self) -> str:
        """Return a fingerprint over the filter and the signal; without one, the filter's own."""
        return (
            self.of.fingerprint() if self.signal is None else fingerprint("without", self.signal, self.of.fingerprint())
        )

    def words(self) -> set[str]:
        """Return the words that the signals left over list."""
        left = {name: signal for name, signal in self.of.signals.items() if name != self.signal}
        return {word for signal in left.values() if isinstance(signal, Mentions) for word in signal.words}

    def check(self) -> list[WinnowError]:
        """Return the faults of the filter."""
        return [fault.under("of") for fault in self.of.check()]

    def _rest(self) -> Node | None:
        return without(self.of.expression, {self.signal} if self.signal else set())


def _under_of(judge: Callable[[], Verdicts]) -> Verdicts:
    try:
        return judge()
    except WinnowError as fault:
        raise fault.under("of") from fault
