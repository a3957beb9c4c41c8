"""Giving rows to splits by the hash of their text, or of what they must stay together by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.near_duplicates import near_clusters
from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet

_Share = Annotated[float, Field(gt=0, lt=1)]
_LARGEST_CLUSTER = 0.05  # of the rows


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NearDuplicates:
    """Which texts count as near-duplicates.

    Attributes:
        threshold: The Jaccard index of their runs of words, as MinHash estimates it, from which two texts do.
        words: How many words make a run; a shorter text is one run.
        permutations: Hash functions of the estimate.
    """

    threshold: _Share = 0.8
    words: Annotated[int, Field(gt=0)] = 3
    permutations: Annotated[int, Field(ge=16)] = 128


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Split:
    """A split that depends on a row's normalised text and on nothing else, unless rows are to stay together.

    A row stays in its split when rows are added, dropped or reordered, and equal texts always stay together. Rows that
    are to stay together form a cluster, which is given to a split as a whole. A cluster by slots is drawn by the hash
    of its values, one of near-duplicates by the least hash of its texts, so that a new row may carry a cluster over.

    Attributes:
        validation_fraction: The share of rows to expect in ``validation``; none go there where the dataset is given a
            validation set.
        test_fraction: The share of rows to expect in ``test``.
        salt: Hashed with the text; another salt makes another split.
        near_duplicates: Keeps near-duplicates, and near-duplicates of these, together.
        group_by: Columns, such as the slots of a grammar; rows with the same value in all of them stay together.
    """

    validation_fraction: _Share = 0.1
    test_fraction: _Share = 0.1
    salt: str = "winnow"
    near_duplicates: NearDuplicates | None = None
    group_by: list[str] = Field(default_factory=list)

    def __post_init__(self) -> None:
        if self.validation_fraction + self.test_fraction >= 1:
            raise WinnowError(
                f"Validation {self.validation_fraction} and test {self.test_fraction} leave no rows "
                "to train on; their sum must be below 1.",
                key="validation_fraction",
            )

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that a fingerprint covers; `group_by` keeps its old name, so that corpora keep theirs."""
        settings = asdict(self)
        settings["together"] = settings.pop("group_by")
        return settings

    def assign(
        self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]] | None = None, validation: bool = True
    ) -> list[str]:
        """Return ``train``, ``validation`` or ``test`` for each row.

        Args:
            texts: The normalised text of each row.
            columns: The values of further columns by name.
            validation: Whether any row goes to ``validation``.

        Raises:
            WinnowError: A column to stay together by is not there, or a cluster holds too many rows.
        """
        keys = self._keys(texts, columns or {})
        held_out = self.test_fraction + (self.validation_fraction if validation else 0)

        def name(key: str) -> str:
            share = self._share(key)
            return "test" if share < self.test_fraction else "validation" if share < held_out else "train"

        return [name(key) for key in keys]

    def _keys(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """Return what decides the split of each row: equal for all rows of a cluster."""
        if not self.group_by and self.near_duplicates is None:
            return texts
        from scipy.cluster.hierarchy import DisjointSet

        own = self._by_slots(texts, columns) if self.group_by else list(texts)
        clusters = DisjointSet(range(len(texts)))
        first: dict[str, int] = {}
        for row, key in enumerate(own):
            clusters.merge(first.setdefault(key, row), row)
        self._refuse_giant(clusters, texts, "group_by")
        if near := self.near_duplicates:
            largest = int(_LARGEST_CLUSTER * len(texts))
            found = near_clusters(texts, near.threshold, near.words, near.permutations, max(1, largest))
            for row in range(len(texts)):
                clusters.merge(found[row], row)
            self._refuse_giant(clusters, texts, "near_duplicates.threshold")
        least: dict[int, str] = {}
        for row, key in enumerate(own):
            place = clusters[row]
            least[place] = min(key, least.get(place, key), key=_hashed)
        return [least[clusters[row]] for row in range(len(texts))]

    def _by_slots(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> list[str]:
        for name in self.group_by:
            if name not in columns:
                raise WinnowError(
                    f"There is no column '{name}' to stay together by.{did_you_mean(name, columns)} There are "
                    f"{', '.join(columns) or 'none'}; a source keeps more where its `columns` name them.",
                    key="group_by",
                )
        rows = zip(*(columns[name] for name in self.group_by), strict=True)
        # A row without a value stays together with nothing.
        return [
            text if None in values else json.dumps(values, ensure_ascii=False)
            for text, values in zip(texts, rows, strict=True)
        ]

    def _refuse_giant(self, clusters: DisjointSet, texts: Sequence[str], key: str) -> None:
        giant = max(clusters.subsets(), key=len)
        size = len(giant)
        if size == 1 or size <= _LARGEST_CLUSTER * len(texts):
            return
        by_slots = key == "group_by"
        cause = "they have the same values" if by_slots else "each is a near-duplicate of another"
        advice = (
            "Name a column, or several, with more values"
            if by_slots
            else "Texts made from templates collapse like that. Raise the threshold, take longer runs of words, or "
            "keep slots together instead (`group_by`)"
        )
        examples = [texts[row][:60] for row in sorted(giant)[:3]]
        raise WinnowError(
            f"At least {size:,} of {len(texts):,} rows would stay together, since {cause}; above "
            f"{_LARGEST_CLUSTER:.0%} no split is left to speak of. Among them are {examples}. {advice}.",
            key=key,
        )

    def _share(self, text: str) -> float:
        """Return a number in [0, 1) drawn by the hash of salt and text."""
        digest = hashlib.blake2b(f"{self.salt}\0{text}".encode(), digest_size=7).digest()
        return int.from_bytes(digest) / 2.0**56


def _hashed(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=8).digest()
