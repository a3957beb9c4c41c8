"""A text classification model as a signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError, did_you_mean
from winnow.filters.signals.signal import Signal, require_bounds, within
from winnow.filters.signals.signal_models import load_classifier, load_tokenizer, pretrained_settings

_DIGITS = 5  # the padding of a batch moves a probability by less


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TextClassifier(Signal):
    """The probability that a text classification model gives one of its labels; keeps those within bounds.

    Attributes:
        name: A model of the Hub, or its folder.
        label: The label, as the model's configuration calls it.
        at_least: The lowest probability to keep; null for no such bound.
        at_most: The highest probability to keep; null for no such bound.
        revision: A branch, tag or commit of the Hub.
        max_length: Tokens after which a text is cut off.
        batch_size: Texts at a time; it does not change the scores.
        device: ``auto`` takes a GPU where there is one.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 10_000.0

    name: Annotated[str, Field(min_length=1)]
    label: Annotated[str, Field(min_length=1)]
    at_least: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    at_most: Annotated[float, Field(ge=0, le=1)] | None = None
    revision: str | None = None
    max_length: Annotated[int, Field(gt=2)] = 256
    batch_size: Annotated[int, Field(gt=0)] = 32
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        require_bounds(self.at_least, self.at_most)

    def settings(self) -> dict[str, Any]:
        """Return the model, the label and where texts are cut."""
        name = pretrained_settings(self.name, self.revision)
        return {"name": name, "label": self.label, "max_length": self.max_length}

    def thresholds(self) -> dict[str, Any]:
        """Return the bounds."""
        return {"at_least": self.at_least, "at_most": self.at_most}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return probabilities, rounded to five digits; null for null."""
        import torch

        cuda = self.device != "cpu" and torch.cuda.is_available()
        model = load_classifier(self.name, self.revision, "cuda" if cuda else "cpu")
        tokenizer = load_tokenizer(self.name, self.revision, "name")
        place = self._place(model.config.id2label)
        scores: list[float | None] = [None] * len(texts)
        # Texts of like length share a batch, so that little is padded.
        rows = sorted(
            (row for row, text in enumerate(texts) if text is not None), key=lambda row: len(texts[row] or "")
        )
        with torch.inference_mode():
            for first in range(0, len(rows), self.batch_size):
                chosen = rows[first : first + self.batch_size]
                batch = tokenizer(
                    [texts[row] for row in chosen],
                    padding=True,
                    truncation=True,
                    max_length=self.max_length,
                    return_tensors="pt",
                ).to(model.device)
                logits = model(**batch).logits.float()
                many = model.config.problem_type == "multi_label_classification"
                probabilities = (logits.sigmoid() if many else logits.softmax(-1))[:, place].tolist()
                for row, probability in zip(chosen, probabilities, strict=True):
                    scores[row] = round(probability, _DIGITS)
        return pa.array(scores, pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep probabilities within the bounds, both included."""
        return within(scores, self.at_least, self.at_most)

    def _place(self, labels: dict[int, str]) -> int:
        for place, label in labels.items():
            if label == self.label:
                return int(place)
        known = ", ".join(labels.values())
        hint = did_you_mean(self.label, labels.values())
        raise WinnowError(f"The model '{self.name}' has no label '{self.label}'.{hint} It has {known}.", key="label")
