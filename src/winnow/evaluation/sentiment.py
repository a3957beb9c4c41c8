"""How positive words and sentences sound: VADER, or a text classification model in its place."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError, did_you_mean

_STRICT = ConfigDict(extra="forbid")


class Sentiment(ABC):
    """Scores texts from -1 (most negative) to 1 (most positive)."""

    @abstractmethod
    def score(self, texts: Sequence[str]) -> list[float]:
        """Return a score for each text."""

    @abstractmethod
    def name_parts(self) -> list[str]:
        """Return what names the scale; scores are compared only where it is equal."""


@dataclass(frozen=True, config=_STRICT)
class Vader(Sentiment):
    """VADER's compound score as NLTK computes it (Hutto and Gilbert 2014); nothing is downloaded."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return compound scores."""
        from winnow.filters.signals.vader_sentiment import compound_scorer

        return list(map(compound_scorer(), texts))

    def name_parts(self) -> list[str]:
        """Return the name alone."""
        return ["vader"]


@dataclass(frozen=True, config=_STRICT)
class SentimentClassifier(Sentiment):
    """The probability of a classifier's positive label less that of its negative one.

    Attributes:
        name: A model of the Hub, or its folder.
        positive: The positive label, as the model's configuration calls it.
        negative: The negative label.
        revision: A branch, tag or commit of the Hub.
        batch_size: Texts at a time.
    """

    name: Annotated[str, Field(min_length=1)]
    positive: str = "POSITIVE"
    negative: str = "NEGATIVE"
    revision: str | None = None
    batch_size: Annotated[int, Field(gt=0)] = 64

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return differences of probabilities; equal texts are read once.

        Raises:
            WinnowError: The model cannot be had, or has no such label.
        """
        import torch

        tokenizer, model = _classifier(self.name, self.revision)
        good, bad = (
            self._place(label, key) for label, key in ((self.positive, "positive"), (self.negative, "negative"))
        )
        unique = sorted(set(texts), key=len)
        found: dict[str, float] = {}
        with torch.inference_mode():
            for start in range(0, len(unique), self.batch_size):
                some = unique[start : start + self.batch_size]
                inputs = tokenizer(some, padding=True, truncation=True, return_tensors="pt")
                shares = model(**inputs).logits.float().softmax(-1)
                found |= dict(zip(some, (shares[:, good] - shares[:, bad]).tolist(), strict=True))
        return [found[text] for text in texts]

    def name_parts(self) -> list[str]:
        """Return the model and its labels."""
        return [self.name, self.revision or "", self.positive, self.negative]

    def _place(self, label: str, key: str) -> int:
        _, model = _classifier(self.name, self.revision)
        labels: dict[int, str] = model.config.id2label
        for place, known in labels.items():
            if known == label:
                return int(place)
        told = f"The model '{self.name}' has no label '{label}'.{did_you_mean(label, labels.values())}"
        raise WinnowError(f"{told} It has {', '.join(labels.values())}.", key)


@functools.lru_cache(maxsize=2)
def _classifier(name: str, revision: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        model = AutoModelForSequenceClassification.from_pretrained(name, revision=revision).eval()
    except Exception as fault:  # what a missing model raises depends on the library below
        raise WinnowError(
            f"'{name}' cannot be loaded as a text classification model ({str(fault).splitlines()[0]}). Give a folder, "
            "or a name on the Hub that can be reached.",
            "name",
        ) from fault
    return tokenizer, model
