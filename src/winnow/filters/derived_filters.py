"""Selections derived from a filter: a random control of the same size, and the filter with one signal removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data import Corpus
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, did_you_mean
from winnow.filters.expression import Node, remove_names
from winnow.filters.filter import Filter, Selection
from winnow.filters.probe_word_overlap import WordOverlap, find_overlap, list_mentioned_words, select_used_signals
from winnow.filters.signals.signal import Signal
from winnow.filters.verdicts import Verdicts
from winnow.untrusted_text import SafeName

_CONTROL_STREAM = 0x77696E6E  # makes this random stream independent of other streams with the same seed


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandomMatched(Selection):
    """A random sample of the training rows that has the same size as a filter's selection.

    Each seed draws a different sample. The control measures the effect of training on fewer rows, regardless of which
    rows are kept.

    Attributes:
        of: The filter that determines the number of rows.
        name: The name of the control.
        label: The name to display. If null, ``name`` is displayed.
        match: Properties of the rows that the sample matches in addition to the number of rows: ``source``, ``label``
            and ``length`` (deciles of the number of characters). For every combination of
            these properties, the sample then has the same number of rows as the filter keeps.
    """

    of: InstanceOf[Filter]
    name: SafeName = "random_matched"
    label: str | None = None
    match: list[Literal["source", "label", "length"]] = Field(default_factory=list)

    def compute_verdicts(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> Verdicts:
        """Return the verdicts of the matched filter."""
        return _prefix_error_keys(lambda: self.of.compute_verdicts(corpus, cache_dir, progress))

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Sample the number of rows that the matched filter keeps, without replacement."""
        if self.match:
            return self._select_matched(train_rows, verdicts, seed)
        size = self.of.select(train_rows, verdicts, seed).num_rows
        generator = np.random.default_rng([_CONTROL_STREAM, seed])
        return train_rows.take(np.sort(generator.choice(train_rows.num_rows, size, replace=False)))

    def count_rows(self, train_rows: pa.Table, verdicts: Verdicts | None) -> tuple[int, ...]:
        """Return the number of rows to sample, for each combination of the properties in ``match``.

        For a given seed, two controls with the same counts and properties draw the same sample.
        """
        strata = assign_strata(train_rows, self.match)
        is_kept = self._compute_kept_mask(train_rows, verdicts)
        return tuple(np.bincount(strata[is_kept], minlength=int(strata.max(initial=0)) + 1).tolist())

    def _select_matched(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Sample the number of rows that the matched filter keeps in every stratum, without replacement."""
        strata = assign_strata(train_rows, self.match)
        sizes = np.bincount(strata)
        counts = np.array(self.count_rows(train_rows, verdicts))
        order = np.random.default_rng([_CONTROL_STREAM, seed]).permutation(train_rows.num_rows)
        order = order[np.argsort(strata[order], kind="stable")]
        ranks = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # each row's rank within its stratum
        return train_rows.take(np.sort(order[ranks < np.repeat(counts, sizes)]))

    def _compute_kept_mask(self, train_rows: pa.Table, verdicts: Verdicts | None) -> npt.NDArray[np.bool_]:
        kept_ids = self.of.select(train_rows, verdicts, seed=0)["row_id"].combine_chunks()
        mask: npt.NDArray[np.bool_] = pc.is_in(train_rows["row_id"], value_set=kept_ids).to_numpy()
        return mask

    def fingerprint(self) -> str:
        """Return a fingerprint of the matched filter and of the matched properties, if there are any."""
        return fingerprint("random_matched", *([self.match] if self.match else []), self.of.fingerprint())

    def check(self) -> list[WinnowError]:
        """Return the errors of the matched filter."""
        return [error.with_prefix("of") for error in self.of.check()]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LeaveOneOut(Selection):
    """A filter with one of its signals removed, to measure that signal's contribution to the model.

    The verdicts are derived from the verdicts of the complete filter, so no row is scored again. The held-out slices
    are the same as for the complete filter.

    Attributes:
        of: The complete filter.
        signal: The signal to remove from the expression; null leaves the filter unchanged.
    """

    of: InstanceOf[Filter]
    signal: str | None = None

    def __post_init__(self) -> None:
        if self.signal is not None and self.signal not in self.of.signals:
            options = ", ".join(self.of.signals)
            hint = did_you_mean(self.signal, self.of.signals)
            raise WinnowError(
                f"the filter '{self.of.name}' has no signal '{self.signal}'.{hint} Available: {options}. "
                "Correct the name.",
                key="signal",
            )
        if self.signal is not None and self.of.mode == "short_circuit":
            message = (
                "expected mode 'full', got 'short_circuit'. Leaving out a signal requires every signal's score on "
                "every row. Set mode=full."
            )
            raise WinnowError(message, key="of.mode")
        if self._remaining_expression() is None:
            message = (
                f"the filter '{self.of.name}' has no terms left without '{self.signal}'. Leave out another signal."
            )
            raise WinnowError(message, key="signal")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The filter's name, followed by ``_without_`` and the signal's name if a signal is removed."""
        return self.of.name if self.signal is None else f"{self.of.name}_without_{self.signal}"

    @property
    def display_name(self) -> str:
        """The name to display: the filter's label or name, followed by the name of the removed signal."""
        return self.of.display_name if self.signal is None else f"{self.of.display_name} without {self.signal}"

    def compute_verdicts(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> Verdicts:
        """Return the verdicts of the complete filter."""
        return _prefix_error_keys(lambda: self.of.compute_verdicts(corpus, cache_dir, progress))

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return the rows that the filter keeps when the signal is removed.

        Raises:
            WinnowError: If the selection keeps none or all of the rows.
        """
        if verdicts is None:
            raise ValueError(
                "LeaveOneOut.select requires the filter's verdicts, got None. Pass the result of compute_verdicts."
            )
        mask = self.derive_verdicts(verdicts).keep_mask("train")
        if not 0 < mask.sum() < len(mask):
            amount = "every" if mask.any() else "no"
            message = (
                f"'{self.name}' keeps {amount} training row, so there is nothing to compare. Leave out another signal."
            )
            raise WinnowError(message, "signal")
        return train_rows.filter(pa.array(mask))

    def derive_verdicts(self, verdicts: Verdicts) -> Verdicts:
        """Convert the verdicts of the complete filter into the verdicts of the filter without the signal."""
        return verdicts if self.signal is None else verdicts.leave_out(self.signal, self.name)

    def fingerprint(self) -> str:
        """Return a fingerprint of the filter and the removed signal, or of the filter alone if no signal is removed."""
        # This class was named "without" in version 0.1. The old name is kept here so that existing runs are recognized.
        return (
            self.of.fingerprint() if self.signal is None else fingerprint("without", self.signal, self.of.fingerprint())
        )

    def words(self) -> set[str]:
        """Return all words listed in the ``Mentions`` signals that the remaining expression uses."""
        return list_mentioned_words(select_used_signals(self._remaining_signals, self._remaining_expression()).values())

    def find_word_overlap(self, words: Collection[str]) -> WordOverlap:
        """Return the given words that affect the signals in the remaining expression."""
        return find_overlap(words, self._remaining_signals, self._remaining_expression())

    @property
    def _remaining_signals(self) -> dict[str, Signal]:
        return {name: signal for name, signal in self.of.signals.items() if name != self.signal}

    def check(self) -> list[WinnowError]:
        """Return the errors of the complete filter."""
        return [error.with_prefix("of") for error in self.of.check()]

    def _remaining_expression(self) -> Node | None:
        return remove_names(self.of.expression, {self.signal} if self.signal else set())


def assign_strata(rows: pa.Table, properties: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the index of each row's stratum. A stratum is a combination of values of the given properties."""
    columns = [np.zeros(rows.num_rows, dtype=np.int64)]
    for name in properties:
        if name == "length":
            lengths = pc.fill_null(pc.utf8_length(rows["text"]), 0).to_numpy()
            columns.append(np.digitize(lengths, np.quantile(lengths, np.linspace(0.1, 0.9, 9))))
        elif name in rows.column_names:
            values = pc.fill_null(rows[name].cast(pa.string()), "").to_numpy()
            columns.append(np.unique(values.astype(str), return_inverse=True)[1])
    strata: npt.NDArray[np.int64] = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return strata


def _prefix_error_keys(compute_verdicts: Callable[[], Verdicts]) -> Verdicts:
    """Call a function and prepend ``of`` to the key of any error it raises."""
    try:
        return compute_verdicts()
    except WinnowError as error:
        raise error.with_prefix("of") from error
