"""Sentences made by a grammar: templates, and words for their slots."""

from __future__ import annotations

import string
from typing import Annotated, Any

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.sources.source import LABEL, RESERVED, TEXT, Source
from winnow.errors import WinnowError, did_you_mean

_STRICT = ConfigDict(extra="forbid")
_NonEmpty = Annotated[list[str], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Words:
    """Words that may fill a slot.

    Attributes:
        words: Drawn with equal chance; a word listed twice is drawn twice as often.
    """

    words: _NonEmpty


@dataclass(frozen=True, config=_STRICT)
class Slot:
    """What may fill a slot: the same words in every row, or others for each label.

    Attributes:
        words: Drawn with equal chance; a word listed twice is drawn twice as often.
        by_label: The words of the rows with each label.
    """

    words: _NonEmpty | None = None
    by_label: dict[int, Words] | None = None

    def __post_init__(self) -> None:
        if (self.words is None) == (self.by_label is None):
            raise WinnowError("A slot has `words`, or words `by_label`; give one of them.", key="words")


@dataclass(frozen=True, config=_STRICT)
class Grammar(Source):
    """Seeded sentences: each row draws a template, then a word for every slot, each draw independent.

    Where there are labels, a row draws its own first, and a slot with words ``by_label`` takes a word of that label.
    Afterwards ``int(null_fraction * rows)`` times a row is drawn, with replacement, and loses its text.

    Attributes:
        templates: Sentences with ``{slot}`` places, drawn with equal chance.
        slots: What may fill each slot.
        labels: The chance of each label; they add up to 1. Null labels no row.
        rows: How many rows.
        seed: Seeds every draw.
        null_fraction: Draws of a null text, as a share of the rows.
        columns: Slots whose word is kept in a column beside the text, used by the row's template or not.
    """

    templates: _NonEmpty
    slots: dict[str, Slot]
    labels: dict[int, Annotated[float, Field(ge=0, le=1)]] | None = None
    rows: Annotated[int, Field(gt=0)] = 25_000
    seed: Annotated[int, Field(ge=0)] = 0
    null_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    columns: list[str] = Field(default_factory=list)

    def __post_init__(self) -> None:
        labels = self.labels or {}
        if labels and abs(sum(labels.values()) - 1) > 1e-9:
            raise WinnowError(f"The chances of the labels add up to {sum(labels.values()):g}, not to 1.", key="labels")
        for name, slot in self.slots.items():
            if slot.by_label is not None and set(slot.by_label) != set(labels):
                raise WinnowError(
                    f"The slot '{name}' has words for the labels {sorted(slot.by_label)}, but `labels` names "
                    f"{sorted(labels) or 'none'}. Give both the same.",
                    key=f"slots.{name}.by_label",
                )
        for template in self.templates:
            self._check_template(template)
        for name in self.columns:
            if name not in self.slots or name in RESERVED:
                cause = "a corpus has its own column of that name" if name in RESERVED else "there is no such slot"
                raise WinnowError(
                    f"'{name}' cannot be a column: {cause}.{did_you_mean(name, self.slots)}", key="columns"
                )

    def read(self) -> pa.Table:
        """Make the rows: ``text`` (some null), ``label`` where there are labels, and the columns asked for."""
        import numpy as np

        generator = np.random.default_rng(self.seed)

        def draw(choices: list[str]) -> list[str]:
            return [choices[i] for i in generator.integers(len(choices), size=self.rows).tolist()]

        templates = draw(self.templates)
        # All words are drawn before the labels, so that other chances of these change no other draw.
        plain = {name: draw(slot.words) for name, slot in self.slots.items() if slot.words}
        labelled = {
            name: {label: draw(words.words) for label, words in slot.by_label.items()}
            for name, slot in self.slots.items()
            if slot.by_label
        }
        labels = self._labels(generator) if self.labels else None
        nulls = set(generator.integers(self.rows, size=int(self.null_fraction * self.rows)).tolist())
        words = plain | {
            name: [by_label[label][row] for row, label in enumerate(labels or [])]
            for name, by_label in labelled.items()
        }
        texts = [
            None if row in nulls else template.format(**{name: drawn[row] for name, drawn in words.items()})
            for row, template in enumerate(templates)
        ]
        table = pa.table([pa.array(texts, TEXT.type)], schema=pa.schema([TEXT]))
        if labels is not None:
            table = table.append_column(LABEL, pa.array(labels, LABEL.type))
        for name in self.columns:
            table = table.append_column(name, pa.array(words[name], pa.string()))
        return table

    def fingerprint(self) -> str:
        """Return a fingerprint over all settings."""
        # Slots as pairs: their order is the order of the draws.
        slots = [
            [name, slot.words, [[label, words.words] for label, words in (slot.by_label or {}).items()]]
            for name, slot in self.slots.items()
        ]
        labels = list((self.labels or {}).items())
        settings = [self.templates, slots, labels, self.rows, self.seed, self.null_fraction, self.columns]
        return fingerprint("grammar", settings)

    def describe(self) -> dict[str, Any]:
        """Return kind, size and seed."""
        return {"kind": "grammar", "rows": self.rows, "seed": self.seed}

    def _labels(self, generator: Any) -> list[int]:
        import numpy as np

        names, chances = zip(*(self.labels or {}).items(), strict=True)
        bounds = np.cumsum(chances)[:-1]  # the last label takes what is left, whatever the rounding
        return [names[place] for place in np.searchsorted(bounds, generator.random(self.rows), side="right").tolist()]

    def _check_template(self, template: str) -> None:
        for slot in _slots_of(template):
            if slot not in self.slots:
                raise WinnowError(
                    f"The template '{template}' has a slot '{slot}' that has no words.{did_you_mean(slot, self.slots)} "
                    f"Slots are {', '.join(self.slots) or 'none'}.",
                    key="templates",
                )
        if self.labels and not any(self.slots[slot].by_label for slot in _slots_of(template)):
            raise WinnowError(
                f"The template '{template}' has no slot with words `by_label`, so its label would say nothing.",
                key="templates",
            )


def _slots_of(template: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as fault:
        raise WinnowError(f"The template '{template}' cannot be read: {fault}.", key="templates") from fault
