"""A signal that detects near-duplicates of earlier texts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.minhash import MinHashIndex, compute_minhashes
from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal, missing_package_errors


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Duplicate(Signal):
    """Measures each text's similarity to the most similar earlier text; keeps texts below a similarity threshold.

    A text is only compared with earlier texts that are not duplicates themselves. The similarity is the Jaccard index
    of the word n-grams, estimated with MinHash (Broder 1997). Locality-sensitive hashing selects the candidates, so a
    few pairs just above the threshold are missed. Exact duplicates have already been removed from the corpus. Sentences
    generated from the same template usually count as near-duplicates.

    Attributes:
        threshold: The minimum similarity at which a text counts as a duplicate.
        words: The number of words per n-gram; a text with fewer words is a single n-gram.
        permutations: The number of hash functions, ``n``. The standard error of the estimated similarity is about
            ``1 / sqrt(n)``.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 25.0
    needs_all_rows: ClassVar[bool] = True

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.8
    words: Annotated[int, Field(gt=0)] = 3
    permutations: Annotated[int, Field(ge=16)] = 128

    def settings(self) -> dict[str, Any]:
        """Return all settings, including the threshold, which affects the scores, and the version of datasketch."""
        parameters = {"threshold": self.threshold, "words": self.words, "permutations": self.permutations}
        return {**parameters, "datasketch": version("datasketch")}

    def check(self) -> list[WinnowError]:
        """Return an error if datasketch is not installed."""
        return missing_package_errors("datasketch", "near-duplicates")

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the similarity to the most similar earlier text: 0 if there is no candidate, null for a null text."""
        rows = [row for row, text in enumerate(texts) if text is not None]
        minhashes = compute_minhashes([text for text in texts if text is not None], self.words, self.permutations)
        index = MinHashIndex(minhashes, self.threshold)
        similarities = [0.0] * len(rows)
        for number in index.comparable_rows:
            similarities[number] = max((value for _, value in index.find_candidates(number)), default=0.0)
            if similarities[number] < self.threshold:
                index.add(number)
        scores: list[float | None] = [None] * len(texts)
        for row, similarity in zip(rows, similarities, strict=True):
            scores[row] = similarity
        return pa.array(scores, pa.float64())

    @property
    def knows_used_words(self) -> bool:
        """True, because only the similarity to other texts matters."""
        return True

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep texts whose similarity is below the threshold."""
        return pc.less(scores, self.threshold)
