"""Format and print errors for the terminal."""

from __future__ import annotations

import sys
import textwrap

from winnow.errors import WinnowError, WinnowErrors


def print_error(error: WinnowError) -> None:
    """Print an error to stderr, with a separate paragraph for each error in a `WinnowErrors`."""
    print(format_error(error), file=sys.stderr)


def format_error(error: WinnowError) -> str:
    """Format an error as a paragraph, or a `WinnowErrors` as one paragraph per error, with lines of 100 characters."""
    errors = error.errors if isinstance(error, WinnowErrors) else [error]
    header = [f"winnow: {len(errors)} configuration errors; nothing was run."] if len(errors) > 1 else []
    # Wrap each line separately: some messages contain a line with a caret that points into the line above.
    lines = [line for error in errors for line in f"winnow: {error}".splitlines()]
    return "\n".join([*header, *map(_wrap, lines)])


def _wrap(line: str) -> str:
    """Wrap a line only at spaces, so that paths and keys remain intact for copying."""
    return textwrap.fill(
        line, 100, subsequent_indent="    ", drop_whitespace=False, break_long_words=False, break_on_hyphens=False
    )
