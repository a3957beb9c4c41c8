"""How errors look in a terminal."""

from __future__ import annotations

import sys
import textwrap

from winnow.errors import WinnowError, WinnowErrors


def print_error(error: WinnowError) -> None:
    """Print an error, or each of several, as a paragraph on standard error."""
    print(format_error(error), file=sys.stderr)


def format_error(error: WinnowError) -> str:
    """Return an error, or each of several, as a paragraph."""
    errors = error.errors if isinstance(error, WinnowErrors) else [error]
    head = [f"winnow: {len(errors)} faults; nothing was done."] if len(errors) > 1 else []
    # Line by line, since some errors mark a place in the line above.
    lines = [line for one in errors for line in f"winnow: {one}".splitlines()]
    wrapped = [textwrap.fill(line, 100, subsequent_indent="    ", drop_whitespace=False) for line in lines]
    return "\n".join([*head, *wrapped])
