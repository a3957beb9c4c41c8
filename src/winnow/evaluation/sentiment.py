"""Score the sentiment of words and sentences with VADER or with a text classification model."""

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
    """A sentiment scale that scores texts from -1 (most negative) to 1 (most positive)."""

    @abstractmethod
    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the sentiment of each text, from -1 to 1."""

    @abstractmethod
    def identity(self) -> list[str]:
        """Return the values that identify the scale. Scores are comparable only if these values are equal."""


@dataclass(frozen=True, config=_STRICT)
class Vader(Sentiment):
    """The compound score of VADER (Hutto and Gilbert 2014), computed as in NLTK but without downloading the lexicon."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the compound score of each text."""
        from winnow.filters.signals.vader_sentiment import build_compound_scorer

        return list(map(build_compound_scorer(), texts))

    def identity(self) -> list[str]:
        """Return the name of the scale."""
        return ["vader"]


@dataclass(frozen=True, config=_STRICT)
class SentimentClassifier(Sentiment):
    """The difference between a text classifier's probabilities of its positive and negative labels.

    Attributes:
        name: The name of a model on the Hub, or the path of a model folder.
        positive: The name of the positive label in the model's configuration.
        negative: The name of the negative label.
        revision: A branch, tag or commit on the Hub.
        batch_size: The number of texts per batch.
    """

    name: Annotated[str, Field(min_length=1)]
    positive: str = "POSITIVE"
    negative: str = "NEGATIVE"
    revision: str | None = None
    batch_size: Annotated[int, Field(gt=0)] = 64

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the difference between the two probabilities for each text. Duplicate texts are scored once.

        Raises:
            WinnowError: If the model cannot be loaded or does not have one of the labels.
        """
        import torch

        tokenizer, model = _load_classifier(self.name, self.revision)
        positive, negative = (
            self._find_label_index(label, key)
            for label, key in ((self.positive, "positive"), (self.negative, "negative"))
        )
        unique_texts = sorted(set(texts), key=len)
        scores: dict[str, float] = {}
        with torch.inference_mode():
            for start in range(0, len(unique_texts), self.batch_size):
                batch = unique_texts[start : start + self.batch_size]
                inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
                probabilities = model(**inputs).logits.float().softmax(-1)
                differences = probabilities[:, positive] - probabilities[:, negative]
                scores |= dict(zip(batch, differences.tolist(), strict=True))
        return [scores[text] for text in texts]

    def identity(self) -> list[str]:
        """Return the model, its revision and its labels."""
        return [self.name, self.revision or "", self.positive, self.negative]

    def _find_label_index(self, label: str, key: str) -> int:
        _, model = _load_classifier(self.name, self.revision)
        labels: dict[int, str] = model.config.id2label
        for index, name in labels.items():
            if name == label:
                return int(index)
        description = f"the model '{self.name}' has no label '{label}'.{did_you_mean(label, labels.values())}"
        raise WinnowError(f"{description} Available: {', '.join(labels.values())}. Use one of these labels.", key)


@functools.lru_cache(maxsize=2)
def _load_classifier(name: str, revision: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        model = AutoModelForSequenceClassification.from_pretrained(name, revision=revision).eval()
    except Exception as error:  # the exception type depends on the version of transformers
        raise WinnowError(
            f"'{name}' cannot be loaded as a text classification model ({str(error).splitlines()[0]}). Pass the "
            "path of a model folder, or the name of a model on the Hub.",
            "name",
        ) from error
    return tokenizer, model
