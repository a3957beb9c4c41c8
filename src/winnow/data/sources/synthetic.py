"""Generate sentences from a grammar, which consists of templates with slots and words for each slot."""

from __future__ import annotations

import functools
import itertools
import string
from dataclasses import asdict
from typing import Annotated, Any

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.sources.agreement import Agreement
from winnow.data.sources.source import LABEL_FIELD, RESERVED_COLUMNS, TEXT_FIELD, Source
from winnow.errors import WinnowError, did_you_mean

_STRICT = ConfigDict(extra="forbid")
TEMPLATE_COLUMN = "template"
"""The name of the column that contains each row's template."""

_NonEmptyStrings = Annotated[list[str], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Words:
    """The words of a slot for one label.

    Attributes:
        words: Words to draw from with equal probability. A word listed twice is drawn twice as often.
    """

    words: _NonEmptyStrings


@dataclass(frozen=True, config=_STRICT)
class Slot:
    """The words of a slot: the same words for all rows, or different words for each label.

    Attributes:
        words: Words to draw from with equal probability. A word listed twice is drawn twice as often.
        by_label: The words to use in rows with each label.
    """

    words: _NonEmptyStrings | None = None
    by_label: dict[int, Words] | None = None

    def __post_init__(self) -> None:
        if (self.words is None) == (self.by_label is None):
            count = "neither" if self.words is None else "both"
            raise WinnowError(
                f"expected exactly one of `words` and `by_label`, got {count}. Set exactly one of them.", key="words"
            )


@dataclass(frozen=True, config=_STRICT)
class Grammar(Source):
    """Seeded random sentences: for each row, a template and a word for each slot are drawn independently.

    Each row records its template and the words of the slots that the template uses, so that rows with the same template
    or word can be analyzed as a group or assigned to the same split.

    If there are labels, a label is also drawn for each row, and slots with ``by_label`` use the words of that label.
    Finally, ``int(null_fraction * rows)`` rows are drawn with replacement, and their texts are set to null.

    Attributes:
        templates: Sentences with ``{slot}`` placeholders. A sentence with ``{part}`` placeholders is expanded
            to one template per combination of phrases. All resulting templates are drawn with equal probability.
        slots: The words of each slot, by the slot's name.
        labels: The probability of each label; the probabilities must sum to 1. Null disables labels.
        rows: Number of rows.
        seed: Random seed for all draws.
        null_fraction: The number of draws for null texts, as a fraction of ``rows``.
        parts: Phrases for the ``{part}`` placeholders of templates, by the part's name. Phrases may contain slots.
        columns: The columns to add: ``template``, names of slots, or both. A slot's column is null in rows whose
            template does not use the slot. By default, the template and all slots are added.
        agreement: The noun that the verbs agree with; null leaves all words as they are. The same words are drawn, and
            the column ``template`` does not change.
    """

    templates: _NonEmptyStrings
    slots: dict[str, Slot]
    labels: dict[int, Annotated[float, Field(ge=0, le=1)]] | None = None
    rows: Annotated[int, Field(gt=0, le=10**8)] = 25_000
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    null_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    parts: dict[str, _NonEmptyStrings] = Field(default_factory=dict)
    columns: list[str] | None = None
    agreement: Agreement | None = None

    def __post_init__(self) -> None:
        labels = self.labels or {}
        if labels and abs(sum(labels.values()) - 1) > 1e-9:
            raise WinnowError(
                f"expected probabilities that sum to 1, got a sum of {sum(labels.values()):g}. Adjust the "
                "probabilities.",
                key="labels",
            )
        for name, slot in self.slots.items():
            if slot.by_label is not None and set(slot.by_label) != set(labels):
                raise WinnowError(
                    f"expected words for the labels {sorted(labels) or 'none'}, got words for {sorted(slot.by_label)}. "
                    "Use the same labels here and in `labels`.",
                    key=f"slots.{name}.by_label",
                )
        for template in self.expanded_templates:
            self._check_template(template)
        for name in self.slots:
            if name in self.parts:
                raise WinnowError(
                    f"there is also a slot named '{name}'. Rename the part or the slot.", key=f"parts.{name}"
                )
            if name in (TEMPLATE_COLUMN, *RESERVED_COLUMNS):
                raise WinnowError(
                    f"the rows already have a column named '{name}'. Rename the slot here and in the templates.",
                    key=f"slots.{name}",
                )
        self._check_agreement()
        allowed_columns = [TEMPLATE_COLUMN, *self.slots]
        for name in self.columns or []:
            if name not in allowed_columns:
                raise WinnowError(
                    f"there is no slot named '{name}'.{did_you_mean(name, allowed_columns)} Allowed: "
                    f"{', '.join(allowed_columns)}.",
                    key="columns",
                )

    def read(self) -> pa.Table:
        """Return the rows: ``text`` (some null), ``label`` if there are labels, ``template`` and the slots' words."""
        import numpy as np

        generator = np.random.default_rng(self.seed)

        def draw(choices: list[str]) -> list[str]:
            return [choices[i] for i in generator.integers(len(choices), size=self.rows).tolist()]

        templates = draw(self.expanded_templates)
        # All words are drawn before the labels, so that the label probabilities do not affect the drawn words.
        plain = {name: draw(slot.words) for name, slot in self.slots.items() if slot.words}
        labelled = {
            name: {label: draw(words.words) for label, words in slot.by_label.items()}
            for name, slot in self.slots.items()
            if slot.by_label
        }
        labels = self._draw_labels(generator) if self.labels else None
        nulls = set(generator.integers(self.rows, size=int(self.null_fraction * self.rows)).tolist())
        words = plain | {
            name: [by_label[label][row] for row, label in enumerate(labels or [])]
            for name, by_label in labelled.items()
        }
        patterns = templates if self.agreement is None else self._apply_agreement(self.agreement, templates, words)
        texts = [
            None if row in nulls else pattern.format(**{name: values[row] for name, values in words.items()})
            for row, pattern in enumerate(patterns)
        ]
        table = pa.table([pa.array(texts, TEXT_FIELD.type)], schema=pa.schema([TEXT_FIELD]))
        if labels is not None:
            table = table.append_column(LABEL_FIELD, pa.array(labels, LABEL_FIELD.type))
        for name in [TEMPLATE_COLUMN, *self.slots] if self.columns is None else self.columns:
            column = templates if name == TEMPLATE_COLUMN else _select_used_words(words[name], name, templates)
            table = table.append_column(name, pa.array(column, pa.string()))
        return table

    def fingerprint(self) -> str:
        """Return a fingerprint of all settings."""
        # Pairs preserve the order of the slots, which determines the random draws. A mapping would be sorted.
        slots = [
            [name, slot.words, [[label, words.words] for label, words in (slot.by_label or {}).items()]]
            for name, slot in self.slots.items()
        ]
        labels = list((self.labels or {}).items())
        settings = [self.templates, slots, labels, self.rows, self.seed, self.null_fraction, self.columns]
        optional = [*([self.parts] if self.parts else []), *([asdict(self.agreement)] if self.agreement else [])]
        return fingerprint("grammar", settings, *optional)

    def describe(self) -> dict[str, Any]:
        """Return the kind of source, the number of rows and the seed."""
        return {"kind": "grammar", "rows": self.rows, "seed": self.seed}

    @functools.cached_property
    def expanded_templates(self) -> list[str]:
        """The templates with all combinations of the phrases of their parts; the last part varies fastest."""
        expanded = []
        for template in self.templates:
            names = [name for name in dict.fromkeys(_parse_slot_names(template)) if name in self.parts]
            for phrases in itertools.product(*(self.parts[name] for name in names)):
                text = template
                for name, phrase in zip(names, phrases, strict=True):
                    text = text.replace(f"{{{name}}}", phrase)
                expanded.append(text)
        return expanded

    def _apply_agreement(self, agreement: Agreement, templates: list[str], words: dict[str, list[str]]) -> list[str]:
        """Return the template of each row in the number of the row's noun, and replace the words of verb slots."""
        singular = [agreement.is_singular(noun) for noun in words[agreement.noun]]
        for slot in agreement.slots:
            words[slot] = [agreement.agree_word(*pair) for pair in zip(words[slot], singular, strict=True)]
        agree = functools.cache(agreement.agree_template)
        return [agree(*pair) for pair in zip(templates, singular, strict=True)]

    def _check_agreement(self) -> None:
        if self.agreement is None:
            return
        for key, name in [("noun", self.agreement.noun), *(("slots", name) for name in self.agreement.slots)]:
            if name not in self.slots:
                raise WinnowError(
                    f"there is no slot named '{name}'.{did_you_mean(name, self.slots)} Allowed: "
                    f"{', '.join(self.slots)}.",
                    key=f"agreement.{key}",
                )
        slot = self.slots[self.agreement.noun]
        nouns = slot.words or [word for words in (slot.by_label or {}).values() for word in words.words]
        if unknown := [noun for noun in self.agreement.singular if noun not in nouns]:
            raise WinnowError(
                f"'{unknown[0]}' is not a word of the slot '{self.agreement.noun}'.{did_you_mean(unknown[0], nouns)} "
                "Correct or remove the word.",
                key="agreement.singular",
            )

    def _draw_labels(self, generator: Any) -> list[int]:
        import numpy as np

        names, probabilities = zip(*(self.labels or {}).items(), strict=True)
        bounds = np.cumsum(probabilities)[:-1]  # the last bound is omitted, so that rounding errors have no effect
        return [names[index] for index in np.searchsorted(bounds, generator.random(self.rows), side="right").tolist()]

    def _check_template(self, template: str) -> None:
        for slot in _parse_slot_names(template):
            if slot not in self.slots:
                raise WinnowError(
                    f"unknown slot '{slot}' in the template '{template}'.{did_you_mean(slot, self.slots)} Allowed: "
                    f"{', '.join(self.slots) or 'none'}.",
                    key="templates",
                )
        if self.labels and not any(self.slots[slot].by_label for slot in _parse_slot_names(template)):
            raise WinnowError(
                f"the template '{template}' has no slot with `by_label`. Add such a slot, or remove `labels`.",
                key="templates",
            )


def _select_used_words(words: list[str], slot: str, templates: list[str]) -> list[str | None]:
    """Return the words of a slot, with ``None`` in rows whose template does not use the slot."""
    uses_slot = {template: slot in _parse_slot_names(template) for template in set(templates)}
    return [word if uses_slot[template] else None for word, template in zip(words, templates, strict=True)]


def _parse_slot_names(template: str) -> list[str]:
    try:
        slots = [
            (name, f"{spec}{conversion or ''}") for _, name, spec, conversion in string.Formatter().parse(template)
        ]
    except ValueError as error:
        raise WinnowError(
            f"cannot parse the template '{template}': {error}. Fix the braces.", key="templates"
        ) from error
    if formatted := [name for name, extra in slots if name is not None and extra]:
        raise WinnowError(
            f"the slot '{formatted[0]}' of the template '{template}' has a format specifier or a conversion. Write "
            f"only {{{formatted[0]}}}.",
            key="templates",
        )
    return [name for name, _ in slots if name is not None]
