"""Find, convert and check the values of a record, and infer the types of label and `auto` columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

import pyarrow as pa

ColumnKind = Literal["number", "string", "auto"]

_MAX_LABEL: Final = 2**53  # larger integers cannot be represented exactly as floats


MISSING: Final = object()
"""The value of a path that does not exist."""


class BrokenRecordError(Exception):
    """An error in a single record.

    Attributes:
        key: The configuration key of the setting that the error refers to.
        fix: How to fix the configuration, if the error probably affects every record; otherwise an empty string.
    """

    def __init__(self, key: str, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.fix = fix


def get_value(record: Any, path: str) -> Any:
    """Return the value at a path, or ``MISSING`` if the path does not exist.

    If the record is a list, return the values at the path in all elements that have such a value.

    >>> get_value({"answers": {"text": ["one", "two"]}, "a.b": 1}, "answers.text")
    ['one', 'two']
    >>> get_value({"answers": [{"text": "one"}, {"text": "two"}]}, "answers.text")
    ['one', 'two']
    """
    if isinstance(record, list):
        values = [get_value(item, path) for item in record]
        return [value for value in values if value is not MISSING]
    if not isinstance(record, Mapping):
        return MISSING
    if path in record:
        return record[path]
    head, dot, rest = path.partition(".")
    return get_value(record[head], rest) if dot and head in record else MISSING


def has_surrogates(text: str) -> bool:
    """Return whether a text contains surrogates, which come from undecodable bytes or from JSON escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def is_column_missing(record: Mapping[str, Any], path: str) -> bool:
    """Return whether a record has neither a value at a path nor the column that the path starts with."""
    return path not in record and path.partition(".")[0] not in record


def get_value_or_none(record: Any, path: str) -> Any:
    """Return the value at a path, or None if the path does not exist."""
    value = get_value(record, path)
    return None if value is MISSING else value


def is_blank(value: Any) -> bool:
    """Return whether a value is missing: null, or a text without visible characters."""
    return value is None or (isinstance(value, str) and not value.strip())


def convert_number(value: Any, path: str) -> float | None:
    """Return a value as a number; `None` if it is blank.

    Raises:
        BrokenRecordError: If the value is not a number.
    """
    if is_blank(value):
        return None
    if (number := _parse_number(value)) is not None:
        return number
    raise BrokenRecordError(
        "columns", f"expected a number in '{path}', got {value!r:.60}.", f"set the type of '{path}' to string"
    )


def convert_label(value: Any, path: str) -> int | str | None:
    """Return an integer label as an integer and any other label as text; `None` if it is blank.

    Raises:
        BrokenRecordError: If the label is a number with a fraction, or too large, or not a single value.
    """
    if is_blank(value):
        return None
    try:
        number = float(value)
    except TypeError:
        number = math.nan
    except ValueError:
        return str(value).strip()
    if number.is_integer() and abs(number) <= _MAX_LABEL:
        return int(number)
    raise BrokenRecordError(
        "label",
        f"expected a category in '{path}', such as an integer or a word, got {value!r:.60}.",
        f"remove the label, and read '{path}' as a column with columns=['{path}']",
    )


def build_label_column(labels: Sequence[int | str | None]) -> pa.Array:
    """Return the labels as integers if all of them are integers, otherwise as text."""
    if any(isinstance(label, str) for label in labels):
        return pa.array([None if label is None else str(label) for label in labels], pa.string())
    return pa.array(labels, pa.int64())


def build_auto_column(values: Sequence[Any]) -> pa.Array:
    """Return the values as numbers if all of them are numbers, otherwise as text. Blank values become nulls."""
    numbers = [None if is_blank(value) else _parse_number(value) for value in values]
    if all(number is not None or is_blank(value) for number, value in zip(numbers, values, strict=True)):
        return pa.array(numbers, pa.float64())
    return pa.array([None if is_blank(value) else str(value) for value in values], pa.string())


def _parse_number(value: Any) -> float | None:
    """Return a value as a finite number, or `None` if it is not one."""
    with suppress(ValueError, TypeError):
        number = float(value)
        return number if math.isfinite(number) else None
    return None
