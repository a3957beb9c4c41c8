"""A signal that scores texts with a text classification model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError, did_you_mean
from winnow.filters.signals.signal import Signal, check_bounds, within_bounds
from winnow.filters.signals.signal_models import load_classifier, load_tokenizer, pretrained_settings

_PROBABILITY_DIGITS = 5  # decimal places of a probability; the amount of padding in a batch affects only later digits


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TextClassifier(Signal):
    """Predicts a label's probability with a text classification model; keeps texts whose probability is within bounds.

    Attributes:
        name: The name of a model on the Hub, or the path of a local folder.
        label: The label, as spelled in the model's ``id2label``.
        at_least: The minimum probability; null for no minimum.
        at_most: The maximum probability; null for no maximum.
        revision: A branch, tag or commit on the Hub.
        max_length: The maximum number of tokens per text; longer texts are truncated.
        batch_size: The number of texts per batch. It does not affect the scores.
        device: ``auto`` and ``cuda`` use a GPU if one is available; otherwise, the CPU is used.
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
        check_bounds(self.at_least, self.at_most)

    def settings(self) -> dict[str, Any]:
        """Return the model's identity, the label and the maximum length."""
        name = pretrained_settings(self.name, self.revision)
        return {"name": name, "label": self.label, "max_length": self.max_length}

    def thresholds(self) -> dict[str, Any]:
        """Return the bounds of the probability."""
        return {"at_least": self.at_least, "at_most": self.at_most}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the probabilities, rounded to five decimal places; the score of a null text is null."""
        import torch

        cuda = self.device != "cpu" and torch.cuda.is_available()
        model = load_classifier(self.name, self.revision, "cuda" if cuda else "cpu")
        tokenizer = load_tokenizer(self.name, self.revision, "name")
        index = self._find_label_index(model.config.id2label)
        scores: list[float | None] = [None] * len(texts)
        # Texts of similar length are batched together to minimize padding.
        rows = sorted(
            (row for row, text in enumerate(texts) if text is not None), key=lambda row: len(texts[row] or "")
        )
        with torch.inference_mode():
            for first in range(0, len(rows), self.batch_size):
                batch_rows = rows[first : first + self.batch_size]
                batch = tokenizer(
                    [texts[row] for row in batch_rows],
                    padding=True,
                    truncation=True,
                    max_length=self.max_length,
                    return_tensors="pt",
                ).to(model.device)
                logits = model(**batch).logits.float()
                multi_label = model.config.problem_type == "multi_label_classification"
                probabilities = (logits.sigmoid() if multi_label else logits.softmax(-1))[:, index].tolist()
                for row, probability in zip(batch_rows, probabilities, strict=True):
                    scores[row] = round(probability, _PROBABILITY_DIGITS)
        return pa.array(scores, pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep probabilities within the inclusive bounds."""
        return within_bounds(scores, self.at_least, self.at_most)

    def _find_label_index(self, labels: dict[int, str]) -> int:
        for index, label in labels.items():
            if label == self.label:
                return int(index)
        options = ", ".join(labels.values())
        hint = did_you_mean(self.label, labels.values())
        raise WinnowError(
            f"the model '{self.name}' has no label '{self.label}'.{hint} Available: {options}. Correct the label.",
            key="label",
        )
