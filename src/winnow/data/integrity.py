"""Checks of the data as they were read: apart from filters, since a broken row is no matter of taste."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.cleaning import normalise
from winnow.data.sources.source import FLAGS
from winnow.errors import WinnowError, did_you_mean

Mask = npt.NDArray[np.bool_]
Action = Literal["drop", "flag", "fail"]
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Check(ABC):
    """Looks at one column of the rows as they were read.

    Attributes:
        column: The column: ``text``, ``label`` or one that the source keeps.
        action: What becomes of rows that fail: ``drop`` them, ``flag`` them by name in a column ``flags``, or ``fail``
            at once. All are counted.
    """

    column: str = "text"
    action: Action = "flag"

    @abstractmethod
    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return which values fail."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class NonNull(Check):
    """Fails where there is nothing, or nothing but white space."""

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return which values are null or blank."""
        if pa.types.is_string(values.type):
            values = pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), None, values)
        mask: Mask = pc.is_null(values).to_numpy()
        return mask


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Bounds(Check):
    """Fails outside bounds; of a text, the length in characters is measured. A null passes.

    Attributes:
        at_least: The least that passes; null for no such bound.
        at_most: The most that passes; null for no such bound.
    """

    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise WinnowError("Without `at_least` or `at_most` nothing fails. Give one.", key="at_least")

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return which values lie outside."""
        numbers = _numbers(values)
        low = -np.inf if self.at_least is None else self.at_least
        high = np.inf if self.at_most is None else self.at_most
        return (numbers < low) | (numbers > high)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Unique(Check):
    """Fails where a value was there before; of a text, its normal form. A null passes."""

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return which values repeat an earlier one."""
        seen: set[Any] = set()
        mask = np.zeros(len(values), dtype=bool)
        for place, value in enumerate(values.to_pylist()):
            if value is not None:
                value = normalise(value) if isinstance(value, str) else value
                mask[place] = value in seen
                seen.add(value)
        return mask


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AllowedValues(Check):
    """Fails where a value is none of those allowed. A null passes.

    Attributes:
        values: What is allowed.
    """

    values: Annotated[list[str | float], Field(min_length=1)]

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return which values are not allowed."""
        allowed = set(self.values)
        return np.array([value is not None and value not in allowed for value in values.to_pylist()], dtype=bool)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ZScore(Check):
    """Fails where a value lies far from the mean; of a text, the length in characters is measured. A null passes.

    Attributes:
        at_most: How many standard deviations are near enough.
    """

    at_most: Annotated[float, Field(gt=0)] = 3.0

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return which values are outliers."""
        numbers = _numbers(values)
        if np.isnan(numbers).all():
            return np.zeros(len(numbers), dtype=bool)
        distance: Mask = np.abs(numbers - np.nanmean(numbers)) > self.at_most * np.nanstd(numbers)
        return distance


STOPS = 50
"""How often it is told, while rows are read, how many have failed so far."""


def inspect(rows: pa.Table, checks: Mapping[str, Check]) -> tuple[pa.Table, dict[str, dict[str, Any]], list[list[int]]]:
    """Apply every check to all rows, and only then do what each asks for.

    Args:
        rows: What a source gave.
        checks: Checks by name.

    Returns:
        The rows less those dropped, with ``flags`` where a check flags; of each check its ``action``, the ``rows``
        it saw and how many ``failed``; and, after each fiftieth of the rows, how many were looked at so far and how
        many of them fail any check.

    Raises:
        WinnowError: A check has no such column, or fails where it may not.
    """
    masks = {name: _fails(name, check, rows) for name, check in checks.items()}
    report = {
        name: {"action": check.action, "rows": rows.num_rows, "failed": int(masks[name].sum())}
        for name, check in checks.items()
    }
    for name, check in checks.items():
        if check.action == "fail" and masks[name].any():
            first = int(np.flatnonzero(masks[name])[0])
            raise WinnowError(
                f"{masks[name].sum():,} of {rows.num_rows:,} rows fail; the first is row {first + 1:,}, whose "
                f"'{check.column}' is {rows[check.column][first].as_py()!r:.60}. Mend the data, or set action=drop.",
                key=f"integrity.{name}",
            )
    flagging = [name for name, check in checks.items() if check.action == "flag"]
    if flagging:
        flags = [", ".join(name for name in flagging if masks[name][row]) for row in range(rows.num_rows)]
        rows = rows.append_column(FLAGS, pa.array(flags, FLAGS.type))
    dropped = [masks[name] for name, check in checks.items() if check.action == "drop"]
    if dropped:
        rows = rows.filter(pa.array(~np.logical_or.reduce(dropped)))
    return rows, report, _running(list(masks.values()))


def _running(masks: Sequence[Mask]) -> list[list[int]]:
    if not masks or not len(masks[0]):
        return []
    failing = np.cumsum(np.logical_or.reduce(masks))
    stops = np.unique(np.linspace(0, len(failing), STOPS + 1).astype(int)[1:])
    return [[stop, int(failing[stop - 1])] for stop in stops.tolist() if stop]


def _fails(name: str, check: Check, rows: pa.Table) -> Mask:
    if check.column not in rows.column_names:
        raise WinnowError(
            f"There is no column '{check.column}'.{did_you_mean(check.column, rows.column_names)} There are "
            f"{', '.join(rows.column_names)}; a source keeps more where its `columns` or `label` name them.",
            key=f"integrity.{name}.column",
        )
    return check.fails(rows[check.column])


def _numbers(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return numbers, or lengths of texts, with nan for null."""
    measured = pc.utf8_length(values) if pa.types.is_string(values.type) else values
    numbers: npt.NDArray[np.float64] = pc.fill_null(measured.cast(pa.float64()), float("nan")).to_numpy()
    return numbers
