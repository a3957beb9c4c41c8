"""Product reviews made from templates."""

from __future__ import annotations

import string
from typing import Annotated, Any

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.source import LABEL, TEXT, Source
from winnow.errors import WinnowError, did_you_mean

_ADJECTIVE = "adjective"
_NonEmpty = Annotated[list[str], Field(min_length=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Slot:
    """The words that may fill a slot.

    Attributes:
        words: Drawn with equal chance; a word listed twice is drawn twice as often.
    """

    words: _NonEmpty


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SyntheticReviews(Source):
    """Seeded template sentences with a label: 1 where the adjective praises, 0 where it blames.

    Each row draws a template, then a word for every slot, each draw independent. The slot ``{adjective}``
    draws from ``negative`` with probability ``negative_fraction``, else from ``positive``. Afterwards
    ``int(null_fraction * rows)`` times a row is drawn, with replacement, and loses its text.

    Attributes:
        templates: Sentences with ``{slot}`` places, drawn with equal chance.
        slots: The words for each slot other than ``adjective``.
        positive: Adjectives that praise.
        negative: Adjectives that blame.
        rows: How many rows.
        seed: Seeds every draw.
        null_fraction: Draws of a null text, as a share of the rows.
        negative_fraction: The chance of an adjective that blames.
    """

    templates: _NonEmpty
    slots: dict[str, Slot]
    positive: Slot
    negative: Slot
    rows: Annotated[int, Field(gt=0)] = 25_000
    seed: Annotated[int, Field(ge=0)] = 0
    null_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    negative_fraction: Annotated[float, Field(ge=0, le=1)] = 0.25

    def __post_init__(self) -> None:
        if _ADJECTIVE in self.slots:
            raise WinnowError(
                "The slot 'adjective' is filled from `positive` and `negative`; take it out of the slots.",
                key=f"slots.{_ADJECTIVE}",
            )
        known = [*self.slots, _ADJECTIVE]
        for template in self.templates:
            for slot in _slots_of(template):
                if slot not in known:
                    raise WinnowError(
                        f"The template '{template}' has a slot '{slot}' that has no words."
                        f"{did_you_mean(slot, known)} Slots are {', '.join(known)}.",
                        key="templates",
                    )
            if _ADJECTIVE not in _slots_of(template):
                raise WinnowError(
                    f"The template '{template}' has no {{adjective}}, so its label would say nothing.",
                    key="templates",
                )

    def read(self) -> pa.Table:
        """Make the rows: ``text`` (some null) and ``label`` (1 or 0)."""
        import numpy as np

        generator = np.random.default_rng(self.seed)

        def draw(choices: list[str]) -> list[str]:
            return [choices[i] for i in generator.integers(len(choices), size=self.rows).tolist()]

        templates = draw(self.templates)
        slots = {slot: draw(choice.words) for slot, choice in self.slots.items()}
        praise, blame = draw(self.positive.words), draw(self.negative.words)
        labels = (generator.random(self.rows) >= self.negative_fraction).astype(np.int64)
        nulls = set(generator.integers(self.rows, size=int(self.null_fraction * self.rows)).tolist())
        slots[_ADJECTIVE] = [(blame, praise)[label][row] for row, label in enumerate(labels.tolist())]
        texts = [
            None if row in nulls else template.format(**{slot: words[row] for slot, words in slots.items()})
            for row, template in enumerate(templates)
        ]
        return pa.table([pa.array(texts, TEXT.type), pa.array(labels)], schema=pa.schema([TEXT, LABEL]))

    def fingerprint(self) -> str:
        """Return a fingerprint over all settings."""
        return fingerprint("synthetic_reviews", self._settings())

    def describe(self) -> dict[str, Any]:
        """Return kind, size and seed."""
        return {"kind": "synthetic_reviews", "rows": self.rows, "seed": self.seed}

    def _settings(self) -> dict[str, Any]:
        # Slots as pairs: their order is the order of the draws.
        return {
            "templates": self.templates,
            "slots": [[slot, choice.words] for slot, choice in self.slots.items()],
            "positive": self.positive.words,
            "negative": self.negative.words,
            "rows": self.rows,
            "seed": self.seed,
            "null_fraction": self.null_fraction,
            "negative_fraction": self.negative_fraction,
        }


def _slots_of(template: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as fault:
        raise WinnowError(f"The template '{template}' cannot be read: {fault}.", key="templates") from fault
