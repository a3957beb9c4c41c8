"""Texts that say again what an earlier one said."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.near_duplicates import signatures
from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal, missing_package


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Duplicate(Signal):
    """How alike a text is to the most similar earlier one that is no duplicate itself; keeps texts that are not.

    Two texts are as alike as the Jaccard index of their runs of words, estimated by MinHash (Broder 1997) among the
    candidates that locality-sensitive hashing finds, so a few pairs just above the threshold are missed. A corpus holds
    no exact duplicates. Beware of templates: their sentences are near-duplicates of one another.

    Attributes:
        threshold: Texts so much alike, or more, are duplicates.
        words: How many words make a run; a shorter text is one run.
        permutations: Hash functions; the standard error of the estimate is about one over their square root.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 300.0
    whole: ClassVar[bool] = True

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.8
    words: Annotated[int, Field(gt=0)] = 3
    permutations: Annotated[int, Field(ge=16)] = 128

    def settings(self) -> dict[str, Any]:
        """Return all settings, since which texts are compared depends on the threshold, and the library's version."""
        shape = {"threshold": self.threshold, "words": self.words, "permutations": self.permutations}
        return {**shape, "datasketch": version("datasketch")}

    def check(self) -> list[WinnowError]:
        """Return a fault if the package is missing."""
        return missing_package("datasketch", "near-duplicates")

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return for each text its likeness to the nearest earlier one, 0 where none is near; null for null."""
        from datasketch import MinHashLSH

        index = MinHashLSH(threshold=self.threshold, num_perm=self.permutations)
        kept: dict[int, Any] = {}
        scores: list[float | None] = []
        for row, signature in enumerate(signatures(texts, self.words, self.permutations)):
            if signature is None:
                scores.append(None)
                continue
            score = max((signature.jaccard(kept[near]) for near in index.query(signature)), default=0.0)
            scores.append(float(score))
            if score < self.threshold:
                kept[row] = signature
                index.insert(row, signature, check_duplication=False)
        return pa.array(scores, pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep texts below the threshold."""
        return pc.less(scores, self.threshold)
