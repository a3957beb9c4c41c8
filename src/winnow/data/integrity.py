"""Integrity checks for raw rows. Checks detect invalid rows; filters select among valid rows."""

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

from winnow.data.cleaning import normalize
from winnow.data.sources.source import FLAGS_FIELD
from winnow.errors import WinnowError, did_you_mean

Mask = npt.NDArray[np.bool_]
FailureAction = Literal["drop", "flag", "fail"]
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Check(ABC):
    """A check on one column of the raw rows.

    Attributes:
        column: The column to check: ``text``, ``label`` or an additional column of the source.
        action: What to do with rows that fail: ``drop`` removes the rows, ``flag`` adds the name of the check to their
            ``flags`` column, and ``fail`` raises an error. Failures are always counted.
    """

    column: str = "text"
    action: FailureAction = "flag"

    @abstractmethod
    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return a mask of the values that fail the check."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class NonNull(Check):
    """A check that fails for null values and blank texts."""

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return a mask of the null or blank values."""
        if pa.types.is_string(values.type):
            values = pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), None, values)
        mask: Mask = pc.is_null(values).to_numpy()
        return mask


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Bounds(Check):
    """A check that fails for values outside the bounds. For text, the length in characters is checked. Nulls pass.

    Attributes:
        at_least: The lower bound; null disables it.
        at_most: The upper bound; null disables it.
    """

    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise WinnowError(
                "expected at least one bound, got none. Set `at_least`, `at_most` or both.", key="at_least"
            )

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return a mask of the values outside the bounds."""
        numbers = _to_numbers_or_lengths(values)
        low = -np.inf if self.at_least is None else self.at_least
        high = np.inf if self.at_most is None else self.at_most
        return (numbers < low) | (numbers > high)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Unique(Check):
    """A check that fails for values that repeat an earlier value. Nulls pass. Texts are normalized first."""

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return a mask of the values that repeat an earlier value."""
        seen: set[Any] = set()
        mask = np.zeros(len(values), dtype=bool)
        for row, value in enumerate(values.to_pylist()):
            if value is not None:
                value = normalize(value) if isinstance(value, str) else value
                mask[row] = value in seen
                seen.add(value)
        return mask


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AllowedValues(Check):
    """A check that fails for values that are not in a list of allowed values. Nulls pass.

    Attributes:
        values: The allowed values.
    """

    values: Annotated[list[str | float], Field(min_length=1)]

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return a mask of the values that are not allowed."""
        allowed = set(self.values)
        return np.array([value is not None and value not in allowed for value in values.to_pylist()], dtype=bool)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ZScore(Check):
    """A check that fails for values far from the mean. For text, the length in characters is checked. Nulls pass.

    Attributes:
        at_most: The maximum distance from the mean, in standard deviations.
    """

    at_most: Annotated[float, Field(gt=0)] = 3.0

    def fails(self, values: pa.ChunkedArray) -> Mask:
        """Return a mask of the outliers."""
        numbers = _to_numbers_or_lengths(values)
        if np.isnan(numbers).all():
            return np.zeros(len(numbers), dtype=bool)
        distance: Mask = np.abs(numbers - np.nanmean(numbers)) > self.at_most * np.nanstd(numbers)
        return distance


FAILURE_COUNT_POSITIONS = 50
"""The number of evenly spaced rows at which the cumulative number of failed rows is recorded."""


def run_checks(
    rows: pa.Table, checks: Mapping[str, Check]
) -> tuple[pa.Table, dict[str, dict[str, Any]], list[list[int]]]:
    """Apply every check to all rows, then drop or flag the rows that failed.

    Args:
        rows: The raw rows of a source.
        checks: The checks, by name.

    Returns:
        A tuple of three values. First, the remaining rows, with a ``flags`` column if the action of any check is
        ``flag``. Second, for each check, its ``action``, the number of ``rows`` checked and the number of rows that
        ``failed``. Third, at 50 equal intervals, the number of rows so far and the number of these rows that fail at
        least one check.

    Raises:
        WinnowError: If a column does not exist, or if any rows fail a check whose action is ``fail``.
    """
    masks = {name: _compute_failure_mask(name, check, rows) for name, check in checks.items()}
    report = {
        name: {"action": check.action, "rows": rows.num_rows, "failed": int(masks[name].sum())}
        for name, check in checks.items()
    }
    for name, check in checks.items():
        if check.action == "fail" and masks[name].any():
            first = int(np.flatnonzero(masks[name])[0])
            raise WinnowError(
                f"{masks[name].sum():,} of {rows.num_rows:,} rows fail this check. The first is row {first + 1:,} with "
                f"'{check.column}' = {rows[check.column][first].as_py()!r:.60}. Fix the data, "
                f"{'or correct the check' if masks[name].all() else 'or set action=drop to drop these rows'}.",
                key=f"integrity.{name}",
            )
    flagging = [name for name, check in checks.items() if check.action == "flag"]
    if flagging:
        flags = [", ".join(name for name in flagging if masks[name][row]) for row in range(rows.num_rows)]
        rows = rows.append_column(FLAGS_FIELD, pa.array(flags, FLAGS_FIELD.type))
    dropped = [masks[name] for name, check in checks.items() if check.action == "drop"]
    if dropped:
        rows = rows.filter(pa.array(~np.logical_or.reduce(dropped)))
    return rows, report, _count_cumulative_failures(list(masks.values()))


def _count_cumulative_failures(masks: Sequence[Mask]) -> list[list[int]]:
    if not masks or not len(masks[0]):
        return []
    failing = np.cumsum(np.logical_or.reduce(masks))
    stops = np.unique(np.linspace(0, len(failing), FAILURE_COUNT_POSITIONS + 1).astype(int)[1:])
    return [[stop, int(failing[stop - 1])] for stop in stops.tolist() if stop]


def _compute_failure_mask(name: str, check: Check, rows: pa.Table) -> Mask:
    if check.column not in rows.column_names:
        raise WinnowError(
            f"there is no column '{check.column}'.{did_you_mean(check.column, rows.column_names)} Allowed: "
            f"{', '.join(rows.column_names)}. To add columns, set `columns` or `label` of the source.",
            key=f"integrity.{name}.column",
        )
    return check.fails(rows[check.column])


def _to_numbers_or_lengths(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return numeric values as floats and the lengths of texts in characters; nulls become NaN."""
    measured = pc.utf8_length(values) if pa.types.is_string(values.type) else values
    numbers: npt.NDArray[np.float64] = pc.fill_null(measured.cast(pa.float64()), float("nan")).to_numpy()
    return numbers
