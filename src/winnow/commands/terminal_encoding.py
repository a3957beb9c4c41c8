"""Print text on terminals with a limited character set, for example with `LC_ALL=C` or `PYTHONIOENCODING=ascii`."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from typing import Final

ERROR_HANDLER: Final = "winnow_ascii"

_SUBSTITUTES: Final = str.maketrans({
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{PLUS-MINUS SIGN}": "+/-", "\N{MICRO SIGN}": "u",
    "\N{RIGHTWARDS ARROW}": "->", "\N{MIDDLE DOT}": "|", "\N{BLACK STAR}": "*", "\N{CHECK MARK}": "+",
    "\N{BALLOT X}": "x", "\N{BLACK RIGHT-POINTING TRIANGLE}": ">", "\N{MULTIPLICATION SIGN}": "x",
    "\N{FULL BLOCK}": "#",
})  # fmt: skip


def substitute_characters(text: str) -> str:
    """Return a text in ASCII: symbols and accented letters become similar characters, all others become `?`.

    >>> substitute_characters("5 µs → café 日")
    '5 us -> cafe ?'
    """
    decomposed = unicodedata.normalize("NFKD", text.translate(_SUBSTITUTES))
    base = "".join(character for character in decomposed if not unicodedata.combining(character))
    return base.encode("ascii", "replace").decode("ascii")


def substitute_unencodable_characters() -> None:
    """Configure standard output and standard error to substitute characters that they cannot encode."""
    codecs.register_error(ERROR_HANDLER, _handle_encode_error)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERROR_HANDLER)


def is_unicode_terminal() -> bool:
    """Return whether standard output can encode every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def _handle_encode_error(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return substitute_characters(error.object[error.start : error.end]), error.end
