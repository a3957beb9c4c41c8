"""Format errors for the terminal."""

from __future__ import annotations

import sys
import textwrap

from winnow.errors import WinnowError, WinnowErrors


def print_error(error: WinnowError) -> None:
    """Print an error to standard error; each error of a `WinnowErrors` is printed as a separate paragraph."""
    print(format_error(error), file=sys.stderr)


def format_error(error: WinnowError) -> str:
    """Format an error as one paragraph; each error of a `WinnowErrors` becomes a separate paragraph."""
    errors = error.errors if isinstance(error, WinnowErrors) else [error]
    header = [f"winnow: {len(errors)} configuration errors; nothing was run."] if len(errors) > 1 else []
    # Wrap each line separately, because some errors point to a position in the line above.
    lines = [line for error in errors for line in f"winnow: {error}".splitlines()]
    wrapped_lines = [textwrap.fill(line, 100, subsequent_indent="    ", drop_whitespace=False) for line in lines]
    return "\n".join([*header, *wrapped_lines])
