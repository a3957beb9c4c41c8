"""Check names and addresses from configurations, and escape texts from data for Markdown, CSV files and file names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import AfterValidator

MAX_NAME_LENGTH: Final = 100

RESERVED_NAMES: Final = ("artifacts", "cache", "filters", "mlflow.db", "unsent")
"""Files and folders in ``output_dir`` that Winnow uses itself. Names are compared without regard to case."""

_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x85\u2028\u2029]")
_FORMULA_START = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def check_name(name: str) -> str:
    """Return a name if it can be used as a folder, an MLflow experiment and a part of a metric name.

    Raises:
        ValueError: If the name is too long, is reserved, or contains a character that is not allowed.
    """
    if len(name) > MAX_NAME_LENGTH or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ValueError(
            f"Allowed: up to {MAX_NAME_LENGTH} letters (a-z), digits, '_', '.' and '-', with a letter, a digit or '_' "
            "at the start. Choose another name"
        )
    if name.lower() in RESERVED_NAMES or name.lower().startswith("mlflow.db"):
        raise ValueError(f"Winnow uses this name itself. Reserved: {', '.join(RESERVED_NAMES)}. Choose another name")
    return name


SafeName = Annotated[str, AfterValidator(check_name)]
"""A name that can be used for a folder, an MLflow experiment and a column heading."""


def check_web_address(address: str) -> str:
    """Return an address if it is safe as the target of a link.

    Raises:
        ValueError: If the address does not start with ``http://`` or ``https://``, or contains a space or a quote.
    """
    if not re.fullmatch(r"https?://[^\s\"'<>`]+", address, re.IGNORECASE):
        raise ValueError("Expected an address that starts with http:// or https://. Correct the address")
    return address


WebAddress = Annotated[str, AfterValidator(check_web_address)]
"""An address that is safe as the target of a link."""


def sanitize_file_name(text: str) -> str:
    """Return a text as a file name: other characters are replaced, and a long text is cut and followed by its hash.

    >>> sanitize_file_name("../models/a b")
    'models_a_b'
    """
    name = re.sub(r"[^\w.+-]+", "_", text).strip("_.")
    if name and len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{name[:MAX_NAME_LENGTH]}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def escape_markdown(text: str) -> str:
    r"""Return a text as one line of Markdown that contains no HTML, link, image or table separator.

    >>> print(escape_markdown("<b>[x](http://a)</b> | y < 1"))
    &lt;b>\[x](http://a)&lt;/b> \| y < 1
    """
    line = re.sub(r"&(?=#?\w+;)", "&amp;", _LINE_BREAK.sub(" ", text))
    line = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", line)
    return re.sub(r"([\\\[|])", r"\\\1", line)


def format_markdown_code(text: str) -> str:
    """Return a text as inline code in Markdown. Backticks, which would end the code, are replaced.

    >>> format_markdown_code("a < 1")
    '`a < 1`'
    """
    return f"`{_LINE_BREAK.sub(' ', text).replace('`', chr(39))}`"


def neutralize_formula(text: str) -> str:
    """Return a text so that a spreadsheet does not read it as a formula. Numbers stay as they are.

    >>> neutralize_formula("=1+1"), neutralize_formula("-0.5"), neutralize_formula("- good")
    ("'=1+1", '-0.5', "'- good")
    """
    return f"'{text}" if _FORMULA_START.match(text) and not _NUMBER.fullmatch(text) else text


def neutralize_row(cells: Iterable[Any]) -> list[Any]:
    """Return the cells of a CSV row with formulas neutralized."""
    return [neutralize_formula(cell) if isinstance(cell, str) else cell for cell in cells]
