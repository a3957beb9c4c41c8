"""Check names and addresses from configurations, and escape texts from data for Markdown, CSV files and file names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import AfterValidator

MAX_NAME_LENGTH: Final = 100

RESERVED_NAMES: Final = ("artifacts", "cache", "filters", "mlflow.db", "unsent")
"""Names of the files and folders that Winnow creates in ``output_dir``. The comparison ignores case."""

_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x85\u2028\u2029]")
_FORMULA_START = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def check_name(name: str) -> str:
    """Return a name unchanged if it is valid as a folder name, an MLflow experiment name and part of a metric name.

    Raises:
        ValueError: If the name is too long, is reserved, or contains a character that is not allowed.
    """
    if len(name) > MAX_NAME_LENGTH or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ValueError(
            f"Allowed: up to {MAX_NAME_LENGTH} letters (a-z), digits, '_', '.' and '-', with a letter, a digit or '_' "
            "at the start. Choose another name"
        )
    if name.lower() in RESERVED_NAMES or name.lower().startswith("mlflow.db"):
        raise ValueError(
            f"Expected a name that is not reserved. Reserved: {', '.join(RESERVED_NAMES)}. Choose another name"
        )
    return name


SafeName = Annotated[str, AfterValidator(check_name)]
"""A name that is valid as a folder name, an MLflow experiment name and part of a metric name."""


def check_web_address(address: str) -> str:
    """Return an address unchanged if it is safe as the target of a link.

    Raises:
        ValueError: If the address does not start with ``http://`` or ``https://``, or contains a space or a quote.
    """
    if not re.fullmatch(r"https?://[^\s\"'<>`]+", address, re.IGNORECASE):
        raise ValueError("Expected an address that starts with http:// or https://. Correct the address")
    return address


WebAddress = Annotated[str, AfterValidator(check_web_address)]
"""An address that is safe as the target of a link."""


def sanitize_file_name(text: str) -> str:
    """Convert a text to a file name. Unsafe characters are replaced, and long names are truncated and end with a hash.

    >>> sanitize_file_name("../models/a b")
    'models_a_b'
    """
    name = re.sub(r"[^\w.+-]+", "_", text).strip("_.")
    if name and len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{name[:MAX_NAME_LENGTH]}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def escape_markdown(text: str) -> str:
    r"""Convert a text to one line of Markdown in which HTML, links, images and table separators are escaped.

    >>> print(escape_markdown("<b>[x](http://a)</b> | y < 1"))
    &lt;b>\[x](http://a)&lt;/b> \| y < 1
    """
    line = re.sub(r"&(?=#?\w+;)", "&amp;", _LINE_BREAK.sub(" ", text))
    line = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", line)
    return re.sub(r"([\\\[|])", r"\\\1", line)


def format_markdown_code(text: str) -> str:
    """Format a text as inline code in Markdown. Backticks, which would end the code, become apostrophes.

    >>> format_markdown_code("a < 1")
    '`a < 1`'
    """
    return f"`{_LINE_BREAK.sub(' ', text).replace('`', chr(39))}`"


def neutralize_formula(text: str) -> str:
    """Prefix a text with an apostrophe if a spreadsheet would read it as a formula. Numbers are not changed.

    >>> neutralize_formula("=1+1"), neutralize_formula("-0.5"), neutralize_formula("- good")
    ("'=1+1", '-0.5', "'- good")
    """
    return f"'{text}" if _FORMULA_START.match(text) and not _NUMBER.fullmatch(text) else text


def neutralize_row(cells: Iterable[Any]) -> list[Any]:
    """Return the cells of a CSV row, with an apostrophe before each formula."""
    return [neutralize_formula(cell) if isinstance(cell, str) else cell for cell in cells]
