"""Convert the columns of an Arrow table to the columns of a source without creating a Python object per value.

The results equal those of the conversion of single records in :mod:`winnow.data.sources.records`. If a column has an
unusual type, or a value that is an error, the functions return None, and the records are converted one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.sources.record_values import BrokenRecordError, convert_label
from winnow.data.text_columns import WHITESPACE, are_blank

_NUMBER_PATTERN = r"^-?[0-9]{1,100}(\.[0-9]{1,100})?$"  # Arrow and Python parse these strings to the same number
_EXACT_FLOAT_TYPES = (pa.float32(), pa.float64())


ColumnPart: TypeAlias = "list[Any] | pa.ChunkedArray"
"""The values of one column in one batch of records."""


def concatenate_parts(parts: Sequence[ColumnPart], kind: pa.DataType) -> pa.ChunkedArray:
    """Return the parts of a column as one column."""
    chunks: list[pa.Array] = []
    for part in parts:
        array = pa.array(part, kind) if isinstance(part, list) else part
        chunks += array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    return pa.chunked_array(chunks, kind)


def convert_auto_parts(parts: Sequence[ColumnPart]) -> list[pa.ChunkedArray] | None:
    """Return the parts of an `auto` column as numbers; None if a part is a list or has other values."""
    numbers: list[pa.ChunkedArray] = []
    for part in parts:
        converted = None if isinstance(part, list) else convert_number_column(part)
        if converted is None:
            return None
        numbers.append(converted)
    return numbers


def convert_text_columns(columns: Sequence[pa.ChunkedArray], joiner: str) -> pa.ChunkedArray | None:
    """Return the joined non-blank texts of each row; null if all of them are null or blank."""
    joined: pa.ChunkedArray | None = None
    for column in columns:
        texts = convert_string_column(column)
        if texts is None:
            return None
        # The joined text is null if one of the two is null.
        joined = (
            texts if joined is None else pc.coalesce(pc.binary_join_element_wise(joined, texts, joiner), joined, texts)
        )
    return joined


def convert_group_column(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the groups as text without surrounding whitespace; null if blank."""
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    groups = convert_string_column(column)
    return None if groups is None else pc.utf8_trim(groups, characters=WHITESPACE)


def convert_number_column(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the values as float64; None if a value is not a finite number."""
    if pa.types.is_integer(column.type):
        return column.cast(pa.float64(), safe=False)  # rounds large integers to the nearest number, as Python does
    if column.type in _EXACT_FLOAT_TYPES:
        is_finite = pc.all(pc.is_finite(column)).as_py()
        return column.cast(pa.float64()) if is_finite in (True, None) else None
    texts = convert_string_column(column)
    if texts is None or pc.all(pc.match_substring_regex(texts, _NUMBER_PATTERN)).as_py() is False:
        return None
    return texts.cast(pa.float64())


def convert_label_column(column: pa.ChunkedArray) -> list[int | str | None] | None:
    """Return the label of each row; None if a label is not a category."""
    types = pa.types
    if not (types.is_integer(column.type) or types.is_boolean(column.type) or types.is_string(column.type)):
        return None
    values = column.combine_chunks().dictionary_encode()
    try:
        labels = [convert_label(value, "") for value in values.dictionary.to_pylist()]
    except BrokenRecordError:
        return None
    return [None if index is None else labels[index] for index in values.indices.to_pylist()]


def convert_string_column(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return a column of strings with nulls in place of empty and blank strings."""
    kind: Any = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    column.validate(full=True)  # a file can contain invalid UTF-8
    texts = column.cast(pa.string())
    return _replace_with_null(texts, pc.or_(pc.equal(texts, ""), are_blank(texts)))


def _replace_with_null(texts: pa.ChunkedArray, mask: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(mask, None, texts) if pc.any(mask).as_py() else texts
