"""Assign rows to splits based on a hash of their text or of their group."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.near_duplicates import cluster_near_duplicates
from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet

_ProperFraction = Annotated[float, Field(gt=0, lt=1)]
MAX_GROUP_FRACTION = 0.05  # the maximum size of a group, as a fraction of all rows


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NearDuplicates:
    """The definition of near-duplicate texts.

    Attributes:
        threshold: Two texts are near-duplicates if the Jaccard index of their word n-grams, estimated with MinHash, is
            at least this value.
        words: Words per n-gram. A text with fewer words is a single n-gram.
        permutations: Number of hash functions used for the estimate.
    """

    threshold: _ProperFraction = 0.8
    words: Annotated[int, Field(gt=0)] = 3
    permutations: Annotated[int, Field(ge=16)] = 128


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Split:
    """Assigns each row to a split based on a hash of its normalized text or of the group that it belongs to.

    Without groups, a row stays in its split when other rows are added, dropped or reordered, and equal texts are always
    in the same split. With groups, all rows of a group are assigned to the same split. A group defined by columns is
    assigned based on the hash of its column values. A group of near-duplicates is assigned based on the smallest hash
    of its texts, so a new row can move the group to another split.

    Attributes:
        validation_fraction: The expected fraction of rows in ``validation``. It is ignored if the dataset has a
            separate validation set.
        test_fraction: The expected fraction of rows in ``test``.
        salt: A string that is hashed together with the text. A different salt gives a different split.
        near_duplicates: If set, near-duplicates, including chains of near-duplicates, are assigned to the same split.
        group_by: Columns that define groups, such as slots of a grammar. Rows with equal values in all of these columns
            are assigned to the same split.
    """

    validation_fraction: _ProperFraction = 0.1
    test_fraction: _ProperFraction = 0.1
    salt: str = "winnow"
    near_duplicates: NearDuplicates | None = None
    group_by: list[str] = Field(default_factory=list)

    def __post_init__(self) -> None:
        if self.validation_fraction + self.test_fraction >= 1:
            raise WinnowError(
                f"expected the sum of validation_fraction and test_fraction to be below 1, got "
                f"{self.validation_fraction} + {self.test_fraction}. Decrease one of the fractions.",
                key="split.validation_fraction",  # relative to the dataset's configuration
            )

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that the dataset's fingerprint depends on, by name.

        ``group_by`` appears under its old name, so that the fingerprints of existing corpora do not change.
        """
        settings = asdict(self)
        settings["together"] = settings.pop("group_by")
        return settings

    def assign(
        self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]] | None = None, validation: bool = True
    ) -> list[str]:
        """Return ``train``, ``validation`` or ``test`` for each row.

        Args:
            texts: The normalized text of each row.
            columns: The values of additional columns, by name.
            validation: Whether to assign rows to ``validation``.

        Raises:
            WinnowError: If a column in ``group_by`` does not exist, or if a group is too large.
        """
        keys = self._compute_hash_keys(texts, columns or {})
        held_out = self.test_fraction + (self.validation_fraction if validation else 0)

        def name(key: str) -> str:
            number = self._hash_to_unit_interval(key)
            return "test" if number < self.test_fraction else "validation" if number < held_out else "train"

        return [name(key) for key in keys]

    def _compute_hash_keys(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """Return the key to hash for each row. All rows of a group have the same key."""
        if not self.group_by and self.near_duplicates is None:
            return texts
        from scipy.cluster.hierarchy import DisjointSet

        row_keys = self._compute_column_keys(texts, columns) if self.group_by else list(texts)
        clusters = DisjointSet(range(len(texts)))
        first: dict[str, int] = {}
        for row, key in enumerate(row_keys):
            clusters.merge(first.setdefault(key, row), row)
        if self.group_by:
            self._check_group_sizes(clusters, row_keys, "group_by")
        if near := self.near_duplicates:
            largest = int(MAX_GROUP_FRACTION * len(texts))
            near_clusters = cluster_near_duplicates(
                texts, near.threshold, near.words, near.permutations, max(1, largest)
            )
            for row in range(len(texts)):
                clusters.merge(near_clusters[row], row)
            self._check_group_sizes(clusters, texts, "near_duplicates.threshold")
        smallest: dict[int, str] = {}
        for row, key in enumerate(row_keys):
            cluster = clusters[row]
            smallest[cluster] = min(key, smallest.get(cluster, key), key=_hash_key)
        return [smallest[clusters[row]] for row in range(len(texts))]

    def _compute_column_keys(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> list[str]:
        for name in self.group_by:
            if name not in columns:
                raise WinnowError(
                    f"there is no column '{name}'.{did_you_mean(name, columns)} Allowed: "
                    f"{', '.join(columns) or 'none'}. To add columns, set `columns` of the source.",
                    key="group_by",
                )
        rows = zip(*(columns[name] for name in self.group_by), strict=True)
        # A row with a null value in any of these columns does not belong to a group.
        return [
            text if None in values else json.dumps(values, ensure_ascii=False)
            for text, values in zip(texts, rows, strict=True)
        ]

    def _check_group_sizes(self, clusters: DisjointSet, texts: Sequence[str], key: str) -> None:
        largest = max(clusters.subsets(), key=len)
        size = len(largest)
        if size == 1 or size <= MAX_GROUP_FRACTION * len(texts):
            return
        by_columns = key == "group_by"
        cause = "have the same values" if by_columns else "are near-duplicates of one another"
        fix = (
            "Use columns with more distinct values"
            if by_columns
            else "This is common for texts generated from templates. Increase the threshold or the number of words, or "
            "use `group_by` instead"
        )
        rows = sorted(largest)
        # All rows of a group have the same key, the values of its columns; near-duplicates have different texts.
        found = (
            f"The values: {texts[rows[0]][:60]}" if by_columns else f"Examples: {[texts[row][:60] for row in rows[:3]]}"
        )
        raise WinnowError(
            f"at least {size:,} of {len(texts):,} rows {cause}, but a group may contain at most "
            f"{MAX_GROUP_FRACTION:.0%} of all rows. {found}. {fix}.",
            key=key,
        )

    def _hash_to_unit_interval(self, text: str) -> float:
        """Return a number in [0, 1) derived from the hash of the salt and the text."""
        digest = hashlib.blake2b(f"{self.salt}\0{text}".encode(), digest_size=7).digest()
        return int.from_bytes(digest) / 2.0**56


def _hash_key(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=8).digest()
