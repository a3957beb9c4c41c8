"""Define prompts (sentences with masks), read prompts from files, and validate masks, slots and word lists."""

from __future__ import annotations

import csv
import hashlib
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.evaluation.mask_predictions import MASK_PATTERN, mask_count_error
from winnow.evaluation.probes.prompt_score_formulas import PROMPT_SCORES
from winnow.evaluation.probes.prompt_splits import PromptSplit

PROMPT_COLUMNS = ("prompt_id", "prompt", "mask", "template", "split", "role", "subject", "pair_id")
"""Columns of the prompt table that describe a prompt. They come before the slots and scores."""

RESERVED_COLUMNS = (*PROMPT_COLUMNS, "probe", "stage", "scored", "seen", *PROMPT_SCORES)
"""Columns of the prompt table and other reserved names, which cannot be used as slot names."""

_STRICT = ConfigDict(extra="forbid")
NonEmptyText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
WordList = list[NonEmptyText]
PromptRole = Literal["subject", "comparison"]


@dataclass(frozen=True, config=_STRICT)
class Prompt:
    """A sentence with one or more masks.

    Attributes:
        text: The sentence. A mask is written ``[MASK]`` or ``<mask>``.
        wanted: The words that should be likely at the mask. If ``None``, the probe's wanted words are used. An
            empty list means that there are no wanted words.
        unwanted: The words that should be unlikely at the mask, with the same default as ``wanted``.
        forbidden: The words that must not be among the top predictions, with the same default as ``wanted``.
    """

    text: NonEmptyText
    wanted: WordList | None = None
    unwanted: WordList | None = None
    forbidden: WordList | None = None


@dataclass(frozen=True, config=_STRICT)
class PromptFile:
    """A CSV or TSV file with prompts, in the format of the HONEST templates (Nozza et al. 2021).

    Attributes:
        path: The path of the file. Files with the suffix ``.tsv`` are tab-separated.
        text: The name of the column with the sentences. An optional column ``template`` contains the templates. All
            other columns are copied to the table of scores.
        mask: The spelling of a mask in the file.
    """

    path: Path
    text: str = "template_masked"
    mask: Annotated[str, Field(min_length=1)] = "[M]"

    def read(self) -> list[tuple[str, str, dict[str, str]]]:
        """Return each row's sentence, its template (by default the sentence itself) and its other columns.

        Raises:
            WinnowErrors: If the file cannot be read, has no column with sentences, or has rows with an invalid number
                of masks. All errors are reported together.
        """
        try:
            lines = self.path.expanduser().read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as cause:
            raise WinnowError(
                f"cannot read the prompts in {self.path}: {cause}. Check the path and the encoding.", "path"
            ) from cause
        rows = csv.DictReader(lines, delimiter="\t" if self.path.suffix == ".tsv" else ",")
        columns = list(rows.fieldnames or [])
        if self.text not in columns:
            description = f"{self.path} has no column '{self.text}'.{did_you_mean(self.text, columns)}"
            raise WinnowError(
                f"{description} Available: {', '.join(columns) or 'none'}. Use one of these columns.", "text"
            )
        prompts, errors = [], []
        for number, row in enumerate(rows, 2):
            text = (row[self.text] or "").replace(self.mask, "[MASK]").strip()
            if error := mask_count_error(text):
                errors.append(WinnowError(f"row {number} of {self.path}: {error}", "path"))
            slots = {
                name: row[name] or "" for name in columns if name and name != self.text and name not in RESERVED_COLUMNS
            }
            template = text if self.text == "template" else row.get("template") or text
            prompts.append((text, template, slots))
        if errors:
            raise WinnowErrors(errors)
        return prompts


@plain_dataclass(frozen=True)
class Cloze:
    """A prompt with its resolved word lists, ready to be scored.

    Attributes:
        text: The sentence with its masks.
        wanted: The wanted words, in order.
        unwanted: The unwanted words.
        forbidden: The forbidden words.
        slots: The values of the template's slots, or of the file's additional columns, by name.
        template: The template of the sentence with its slots in braces, or the sentence itself if there is no template.
        prior_text: The sentence with its subjects also masked, for the prior-corrected log odds; ``None`` if the
            sentence contains no subject.
        prior_mask_indices: For each mask of ``text``, its index among the masks of ``prior_text``.
        split: Whether the prompt is used for choices during training and between runs (``validation``), for verdicts
            (``test``), or for both.
        role: ``comparison`` for a prompt about a comparison subject, ``subject`` for any other prompt.
        subject: The first subject in the sentence; ``None`` if the sentence contains no subject.
    """

    text: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    forbidden: tuple[str, ...]
    slots: dict[str, str]
    template: str = ""
    prior_text: str | None = None
    prior_mask_indices: tuple[int, ...] = ()
    split: PromptSplit = "both"
    role: PromptRole = "subject"
    subject: str | None = None

    @property
    def mask_count(self) -> int:
        """The number of masks in the sentence."""
        return len(MASK_PATTERN.findall(self.text))

    def prompt_id(self, mask: int) -> str:
        """Return a hash of the text, and of the mask number if there are several masks, as 8 hex digits."""
        content = self.text if self.mask_count == 1 else f"{self.text}#{mask}"
        return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()

    def pair_id(self, mask: int) -> str:
        """Return a hash, as 8 hex digits, that is the same for a prompt and the comparison prompts built from it.

        The hash depends on the template, on the text with masked subjects, and on the mask number.
        """
        content = "\0".join([self.template, self.prior_text or self.text, str(mask)])
        return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()

    def title(self, mask: int) -> str:
        """Return the text, followed by the mask number (from 1) if there are several masks."""
        return self.text if self.mask_count == 1 else f"{self.text} (mask {mask})"


def mask_subjects(text: str, subjects: Sequence[str]) -> tuple[str | None, tuple[int, ...]]:
    """Replace each subject in a sentence with a mask, and keep the existing masks.

    Returns:
        The masked sentence, or ``None`` if the sentence contains no subject; and for each original mask, its index
        among all masks of the masked sentence.

    >>> mask_subjects("Nike makes [MASK] shoes", ["Nike"])
    ('[MASK] makes [MASK] shoes', (1,))
    """
    pattern = compile_subject_pattern(subjects)
    if not subjects or not pattern.search(text):
        return None, ()
    matches = re.finditer(f"(?P<mask>{MASK_PATTERN.pattern})|{pattern.pattern}", text, re.IGNORECASE)
    return pattern.sub("[MASK]", text), tuple(i for i, match in enumerate(matches) if match["mask"])


def compile_subject_pattern(subjects: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that matches each subject as a whole word, ignoring case; longer subjects take precedence.

    If there are no subjects, the pattern never matches.
    """
    words = "|".join(re.escape(word) for word in sorted(subjects, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)" if subjects else r"(?!)", re.IGNORECASE)


def list_formatted_slots(template: str) -> list[str]:
    """Return the slots of a template that have a format specifier (``{product:>9}``) or a conversion (``{product!r}``).

    >>> list_formatted_slots("{product:>9} made by {brand} are [MASK]")
    ['product']
    """
    return [name for _, name, spec, conversion in string.Formatter().parse(template) if name and (spec or conversion)]


def slot_names(template: str) -> list[str]:
    """Return the names of a template's slots, in order.

    Raises:
        ValueError: If the braces of the template do not match.

    >>> slot_names("{product} made by {brand} are [MASK]")
    ['product', 'brand']
    """
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def prompt_mask_errors(text: str, key: str) -> Iterator[WinnowError]:
    """Yield an error if the number of masks in a prompt is invalid."""
    if description := mask_count_error(text):
        yield WinnowError(f"the prompt {description}", key)


def shared_word_errors(wanted: Sequence[str], other_words: Sequence[str], key: str) -> Iterator[WinnowError]:
    """Yield an error if a word is in both the list of wanted words and another word list."""
    if shared_words := sorted({word.casefold() for word in wanted} & {word.casefold() for word in other_words}):
        list_name = key.rpartition(".")[2]
        yield WinnowError(
            f"the wanted and {list_name} words share {', '.join(shared_words)}. Remove each word from one of the "
            "lists.",
            key,
        )
