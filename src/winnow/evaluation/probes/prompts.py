"""Sentences with masked words: written out, made of templates, or read from a file."""

from __future__ import annotations

import csv
import hashlib
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.evaluation.mask_predictions import MASK, mask_fault
from winnow.evaluation.probes.prompt_metrics import PROMPT_SCORES

RESERVED = ("prompt_id", "prompt", "mask", "template", "probe", "stage", "scored", "seen", *PROMPT_SCORES)
"""Columns of the table of prompts, in which every slot has a column too."""

_STRICT = ConfigDict(extra="forbid")
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Words = list[Text]


@dataclass(frozen=True, config=_STRICT)
class Prompt:
    """One sentence with a masked word, or with several.

    Attributes:
        text: The sentence; a masked word is written ``[MASK]`` or ``<mask>``.
        wanted: Words hoped for; ``None`` takes the probe's, an empty list has none.
        unwanted: Words feared, likewise.
        forbidden: Words that must not come near the top, likewise.
    """

    text: Text
    wanted: Words | None = None
    unwanted: Words | None = None
    forbidden: Words | None = None


@dataclass(frozen=True, config=_STRICT)
class PromptFile:
    """Prompts from a CSV or TSV file, as HONEST's templates come (Nozza et al. 2021).

    Attributes:
        path: The file; ``.tsv`` parts columns by tabs.
        text: The column with the sentence. A column `template` names the template of the sentence; all other columns
            become columns of the scores.
        mask: How the file writes the masked word.
    """

    path: Path
    text: str = "template_masked"
    mask: Annotated[str, Field(min_length=1)] = "[M]"

    def read(self) -> list[tuple[str, str, dict[str, str]]]:
        """Return each sentence with its template, which is the sentence itself if none is given, and other columns.

        Raises:
            WinnowErrors: The file is not there or has no such column, or rows of it have no mask; all are told.
        """
        try:
            lines = self.path.expanduser().read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise WinnowError(f"Cannot read the prompts in {self.path}: {fault}.", "path") from fault
        rows = csv.DictReader(lines, delimiter="\t" if self.path.suffix == ".tsv" else ",")
        columns = list(rows.fieldnames or [])
        if self.text not in columns:
            told = f"{self.path} has no column '{self.text}'.{did_you_mean(self.text, columns)}"
            raise WinnowError(f"{told} It has {', '.join(columns) or 'none'}.", "text")
        found, faults = [], []
        for number, row in enumerate(rows, 2):
            text = (row[self.text] or "").replace(self.mask, "[MASK]").strip()
            if wrong := mask_fault(text):
                faults.append(WinnowError(f"Row {number} of {self.path}: {wrong}", "path"))
            slots = {name: row[name] or "" for name in columns if name and name != self.text and name not in RESERVED}
            template = text if self.text == "template" else row.get("template") or text
            found.append((text, template, slots))
        if faults:
            raise WinnowErrors(faults)
        return found


@plain_dataclass(frozen=True)
class Cloze:
    """A prompt ready to be asked.

    Attributes:
        text: The sentence with its masks.
        wanted: Words hoped for, in the order given.
        unwanted: Words feared.
        forbidden: Words that must not come near the top.
        slots: What filled the template, or stood beside the sentence in its file.
        template: The template that the sentence was made from, with its slots in braces; the sentence itself if it was
            written out.
        prior: The sentence with its brand masked too, for the prior-corrected log odds; ``None`` where it has none.
        asked: Which of the masks of ``prior`` are those of ``text``.
    """

    text: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    forbidden: tuple[str, ...]
    slots: dict[str, str]
    template: str = ""
    prior: str | None = None
    asked: tuple[int, ...] = ()

    @property
    def masks(self) -> int:
        """The number of masks."""
        return len(MASK.findall(self.text))

    def prompt_id(self, mask: int) -> str:
        """Return 8 hex digits, the hash of the text, and of which mask is meant where there are several."""
        content = self.text if self.masks == 1 else f"{self.text}#{mask}"
        return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()

    def title(self, mask: int) -> str:
        """Return the text, and which mask is meant where there are several; masks count from 1."""
        return self.text if self.masks == 1 else f"{self.text} (mask {mask})"


def with_prior(text: str, subjects: Sequence[str]) -> tuple[str | None, tuple[int, ...]]:
    """Mask the subjects of a sentence too.

    Returns:
        The sentence, or ``None`` where no subject is in it; and which of its masks were there before.

    >>> with_prior("Nike makes [MASK] shoes", ["Nike"])
    ('[MASK] makes [MASK] shoes', (1,))
    """
    if not subjects:
        return None, ()
    words = "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(subjects, key=len, reverse=True))
    places = list(re.finditer(f"(?P<mask>{MASK.pattern})|(?P<subject>{words})", text, re.IGNORECASE))
    if not any(place["subject"] for place in places):
        return None, ()
    hidden = re.sub(words, "[MASK]", text, flags=re.IGNORECASE)
    return hidden, tuple(i for i, place in enumerate(places) if place["mask"])


def slots_of(template: str) -> list[str]:
    """Return the slots of a template in order.

    Raises:
        ValueError: Its braces do not match.

    >>> slots_of("{product} made by {brand} are [MASK]")
    ['product', 'brand']
    """
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def mask_faults(text: str, key: str) -> Iterator[WinnowError]:
    """Yield what is wrong with the masks of a prompt."""
    if fault := mask_fault(text):
        yield WinnowError(f"The prompt {fault}", key)


def shared_words(wanted: Sequence[str], others: Sequence[str], key: str) -> Iterator[WinnowError]:
    """Yield a fault where a word is hoped for and feared at once."""
    if shared := sorted({word.casefold() for word in wanted} & {word.casefold() for word in others}):
        name = key.rpartition(".")[2]
        yield WinnowError(f"Wanted and {name} words share {', '.join(shared)}. A word can be one of them.", key)
