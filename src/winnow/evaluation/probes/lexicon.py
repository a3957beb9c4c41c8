"""Read lexicon files for probes, and the built-in opinion lexicon."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors, did_you_mean

WordRole = Literal["wanted", "unwanted", "forbidden"]
WORD_ROLES: tuple[WordRole, ...] = get_args(WordRole)

LEXICON_FOLDER = Path(__file__).parent / "lexicons"
"""The folder that contains the built-in lexicons."""

_VERSION_PATTERN = re.compile(r"#\s*version:\s*(\S+)")


@dataclass(frozen=True)
class Lexicon:
    """The words of a lexicon file, grouped by role.

    Attributes:
        name: The file name without its suffix.
        version: The version from the ``# version:`` comment, or an empty string if there is no such comment.
        words: The words of each role, in file order.
    """

    name: str
    version: str
    words: dict[WordRole, tuple[str, ...]]

    def fingerprint(self) -> str:
        """Return a hash of the version and of the words of each role, as 16 hex digits."""
        return fingerprint("lexicon", self.version, {role: self.words[role] for role in WORD_ROLES})


def read_lexicon(name: str) -> Lexicon:
    """Read a lexicon from a CSV file with the columns ``word`` and ``role``.

    Lines that start with ``#`` are comments. A word may be both unwanted and forbidden, but a wanted word may not have
    any other role.

    Args:
        name: The name of a built-in lexicon, such as ``nike``, or the path of a file.

    Raises:
        WinnowErrors: If the file cannot be read or contains invalid rows. All errors are reported together.
    """
    path = _find_lexicon_file(name)
    text = _read_lexicon_text(path)
    words: dict[WordRole, dict[str, None]] = {role: {} for role in WORD_ROLES}
    errors = []
    for number, row in _parse_lexicon_rows(path, text, ("word", "role")):
        word, role = row["word"], row["role"]
        if not word:
            errors.append(_build_row_error(path, number, "the word is missing"))
        elif role not in words:
            suggestion = did_you_mean(role, WORD_ROLES)
            errors.append(
                _build_row_error(path, number, f"unknown role {role!r}.{suggestion} Allowed: {', '.join(WORD_ROLES)}")
            )
        else:
            words[role][word] = None
    for word in sorted({*words["wanted"]} & {*words["unwanted"], *words["forbidden"]}):
        errors.append(
            WinnowError(
                f"'{word}' in {path} is a wanted word and also an unwanted or forbidden word. Remove one of the rows.",
                "lexicon",
            )
        )
    if errors:
        raise WinnowErrors(errors)
    if not any(words.values()):
        raise WinnowError(f"the lexicon {path} has no words. Add at least one row.", "lexicon")
    version = _VERSION_PATTERN.search(text)
    return Lexicon(path.stem, version[1] if version else "", {role: tuple(words[role]) for role in WORD_ROLES})


@functools.cache
def load_opinion_lexicon() -> dict[str, float]:
    """Load the polarity of each word in the built-in opinion lexicon, from -1 to 1.

    This is the subjectivity lexicon of Pattern (De Smedt and Daelemans 2012, "Pattern for Python"), which is in the
    public domain. It was compiled independently of the word lists of the built-in filters and of VADER's lexicon.
    """
    path = LEXICON_FOLDER / "opinion.csv"
    return {
        row["word"]: float(row["polarity"])
        for _, row in _parse_lexicon_rows(path, _read_lexicon_text(path), ("word", "polarity"))
    }


def _find_lexicon_file(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix or "/" in name:
        return path
    if not (LEXICON_FOLDER / f"{name}.csv").is_file():
        built_in = sorted(file.stem for file in LEXICON_FOLDER.glob("*.csv") if file.stem != "opinion")
        raise WinnowError(
            f"there is no built-in lexicon named '{name}'.{did_you_mean(name, built_in)} "
            f"Available: {', '.join(built_in)}. Use one of these names, or pass the path of a file.",
            "lexicon",
        )
    return LEXICON_FOLDER / f"{name}.csv"


def _read_lexicon_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WinnowError(
            f"cannot read the lexicon {path}: {error}. Check the path and the encoding.", "lexicon"
        ) from error


def _parse_lexicon_rows(path: Path, text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row's line number and its values by column name."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    table = csv.reader(line for _, line in lines)
    header = ",".join(name.strip() for name in next(table, []))
    if header != ",".join(columns):
        raise WinnowError(
            f"expected the header '{','.join(columns)}' in the lexicon {path}, got '{header}'. Write this header in "
            "the first line.",
            "lexicon",
        )
    for (number, _), values in zip(lines[1:], table, strict=True):
        if len(values) != len(columns):
            raise _build_row_error(
                path, number, f"expected {len(columns)} values ({', '.join(columns)}), got {len(values)}"
            )
        yield number, dict(zip(columns, map(str.strip, values), strict=True))


def _build_row_error(path: Path, number: int, description: str) -> WinnowError:
    return WinnowError(f"line {number} of {path} is invalid: {description}. Fix or remove the line.", "lexicon")
