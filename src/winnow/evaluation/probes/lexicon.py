"""Word lists in files: which words a probe hopes for, fears or forbids, and a second opinion on all of them."""

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

Role = Literal["wanted", "unwanted", "forbidden"]
ROLES: tuple[Role, ...] = get_args(Role)

SHIPPED = Path(__file__).parent / "lexicons"
"""Where the lexicons that come with Winnow lie."""

_VERSION = re.compile(r"#\s*version:\s*(\S+)")


@dataclass(frozen=True)
class Lexicon:
    """The words of a lexicon file by their role.

    Attributes:
        name: The file's name without its ending.
        version: What its comment ``# version:`` says; empty where there is none.
        words: For each role its words, in the order of the file.
    """

    name: str
    version: str
    words: dict[Role, tuple[str, ...]]

    def fingerprint(self) -> str:
        """Return 16 hex digits over version, words and roles."""
        return fingerprint("lexicon", self.version, {role: self.words[role] for role in ROLES})


def read_lexicon(name: str) -> Lexicon:
    """Read a lexicon: a CSV file with the columns ``word`` and ``role``; lines that begin with ``#`` are comments.

    A word may be unwanted and forbidden, but not wanted too.

    Args:
        name: A lexicon that comes with Winnow (``nike``), or the path of a file.

    Raises:
        WinnowErrors: It is not there, or rows of it are broken; all are told.
    """
    path = _path(name)
    text = _text(path)
    words: dict[Role, dict[str, None]] = {role: {} for role in ROLES}
    faults = []
    for number, row in _rows(path, text, ("word", "role")):
        word, role = row["word"], row["role"]
        if not word:
            faults.append(_fault(path, number, "it has no word"))
        elif role not in words:
            faults.append(
                _fault(path, number, f"{role!r} is no role.{did_you_mean(role, ROLES)} Roles are {', '.join(ROLES)}")
            )
        else:
            words[role][word] = None
    for word in sorted({*words["wanted"]} & {*words["unwanted"], *words["forbidden"]}):
        faults.append(
            WinnowError(f"{path} has '{word}' as wanted and as unwanted or forbidden. Choose one.", "lexicon")
        )
    if faults:
        raise WinnowErrors(faults)
    if not any(words.values()):
        raise WinnowError(f"The lexicon {path} holds no words.", "lexicon")
    found = _VERSION.search(text)
    return Lexicon(path.stem, found[1] if found else "", {role: tuple(words[role]) for role in ROLES})


@functools.cache
def opinions() -> dict[str, float]:
    """Return a second opinion on words, from -1 to 1: adjectives rated by people who know nothing of a probe or filter.

    It is the subjectivity lexicon of Pattern (De Smedt and Daelemans 2012, "Pattern for Python"), in the public domain
    and shipped as a file. Neither the word lists of the shipped filters nor VADER's lexicon went into it.
    """
    path = SHIPPED / "opinion.csv"
    return {row["word"]: float(row["polarity"]) for _, row in _rows(path, _text(path), ("word", "polarity"))}


def _path(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix or "/" in name:
        return path
    if not (SHIPPED / f"{name}.csv").is_file():
        known = sorted(file.stem for file in SHIPPED.glob("*.csv") if file.stem != "opinion")
        raise WinnowError(
            f"There is no lexicon '{name}'.{did_you_mean(name, known)} Winnow brings {', '.join(known)}; give the "
            "path of a file for one of your own.",
            "lexicon",
        )
    return SHIPPED / f"{name}.csv"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise WinnowError(f"Cannot read the lexicon {path}: {fault}.", "lexicon") from fault


def _rows(path: Path, text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows with the numbers of their lines."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    table = csv.reader(line for _, line in lines)
    if [name.strip() for name in next(table, [])] != list(columns):
        raise WinnowError(f"The lexicon {path} must begin with the line '{','.join(columns)}'.", "lexicon")
    for (number, _), values in zip(lines[1:], table, strict=True):
        if len(values) != len(columns):
            raise _fault(path, number, f"it has {len(values)} values where {' and '.join(columns)} are needed")
        yield number, dict(zip(columns, map(str.strip, values), strict=True))


def _fault(path: Path, number: int, what: str) -> WinnowError:
    return WinnowError(f"Line {number} of {path} is broken: {what}. Mend it or take it out.", "lexicon")
