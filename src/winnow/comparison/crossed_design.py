"""Pivot a score table into seeds x items matrices, using only the items for which most seeds have a score."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.item_factors import ItemStructure, build_item_structure
from winnow.comparison.score_imputation import impute_missing
from winnow.errors import WinnowError, did_you_mean
from winnow.formatting import join_names

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

FACTOR_PREFIX, CLUSTER_PREFIX = "factor:", "cluster:"
"""Column prefixes. ``factor:`` columns contain an item's level of a factor, and ``cluster:`` columns its cluster."""


@dataclass(frozen=True)
class CrossedScores:
    """The scores of two arms on the same items, as matrices of shape (seeds, items).

    Attributes:
        a: The first arm. The difference is the mean of arm a minus the mean of arm b.
        b: The second arm.
        scores_a: The scores of arm a, with missing scores imputed.
        scores_b: The scores of arm b, with missing scores imputed. If ``blocked`` is true, row i of both matrices has
            the same seed.
        weights: The item weights, scaled to mean 1.
        items_left_out: Number of items that are excluded because at least half of an arm's seeds have no score for
            them.
        blocked: Whether seeds are blocks, that is, whether runs of both arms with the same seed form a pair.
        missing: Number of imputed scores in each arm.
        seeds_left_out: The excluded seeds, each described with the reason: too few scores, or no run of the other arm
            with the same seed.
        factors: Each item's level of every crossed factor, by factor name.
        clusters: Each item's cluster, by kind of cluster, such as ``source``.
    """

    a: str
    b: str
    scores_a: Array
    scores_b: Array
    weights: Array
    items_left_out: int = 0
    blocked: bool = False
    missing: tuple[int, int] = (0, 0)
    seeds_left_out: tuple[str, ...] = ()
    factors: Mapping[str, Sequence[object]] = field(default_factory=dict)
    clusters: Mapping[str, Sequence[object]] = field(default_factory=dict)

    @property
    def seed_means(self) -> tuple[Array, Array]:
        """Each seed's weighted mean over items, for arms a and b."""
        return (self.scores_a * self.weights).mean(axis=1), (self.scores_b * self.weights).mean(axis=1)

    @property
    def samples(self) -> list[tuple[str, Array, float]]:
        """The independent samples of seeds, as tuples of name, scores and number of imputed scores.

        The samples are the two arms, or the differences of the pairs if seeds are blocks.
        """
        if self.blocked:
            # If only one score of a pair is imputed, the difference still contains the residual of the observed score.
            return [("pairs", self.scores_a - self.scores_b, sum(self.missing) / 2)]
        return [(self.a, self.scores_a, self.missing[0]), (self.b, self.scores_b, self.missing[1])]

    @functools.cached_property
    def structure(self) -> ItemStructure:
        """The random and fixed factors of the items."""
        return build_item_structure(self.weights, self.factors, self.clusters)


@dataclass(frozen=True)
class ArmScores:
    """The scores of several arms on the same items, as one matrix of shape (seeds, items) per arm.

    Attributes:
        arms: The names of the arms.
        scores: The scores of each arm, with missing scores imputed. If ``blocked`` is true, row i of every matrix has
            the same seed.
        weights: The item weights, scaled to mean 1.
        items_left_out: Number of items that are excluded because at least half of an arm's seeds have no score for
            them.
        blocked: Whether seeds are blocks, that is, whether the runs with the same seed belong together.
        missing: Number of imputed scores in each arm; empty if there are none.
        seeds_left_out: The excluded seeds, each described with the reason: too few scores, or no run of another arm
            with the same seed.
        factors: Each item's level of every crossed factor, by factor name.
        clusters: Each item's cluster, by kind of cluster, such as ``source``.
    """

    arms: tuple[str, ...]
    scores: tuple[Array, ...]
    weights: Array
    items_left_out: int = 0
    blocked: bool = False
    missing: tuple[int, ...] = ()
    seeds_left_out: tuple[str, ...] = ()
    factors: Mapping[str, Sequence[object]] = field(default_factory=dict)
    clusters: Mapping[str, Sequence[object]] = field(default_factory=dict)

    @functools.cached_property
    def structure(self) -> ItemStructure:
        """The random and fixed factors of the items."""
        return build_item_structure(self.weights, self.factors, self.clusters)


def pivot_scores(scores: pd.DataFrame, a: str, b: str, blocked: bool = False) -> CrossedScores:
    """Return the scores of two arms as seeds x items matrices; see :func:`pivot_arms`."""
    pivoted = pivot_arms(scores, (a, b), blocked)
    return CrossedScores(
        a,
        b,
        pivoted.scores[0],
        pivoted.scores[1],
        pivoted.weights,
        pivoted.items_left_out,
        blocked,
        (pivoted.missing[0], pivoted.missing[1]),
        pivoted.seeds_left_out,
        pivoted.factors,
        pivoted.clusters,
    )


def pivot_arms(scores: pd.DataFrame, arms: Sequence[str], blocked: bool = False) -> ArmScores:
    """Return the scores of at least two arms as seeds x items matrices.

    Runs with scores for fewer than half of the items are excluded and listed. Items are excluded if at least half of an
    arm's seeds have no score for them. Remaining missing scores are imputed by
    :func:`winnow.comparison.score_imputation.impute_missing`.

    Args:
        scores: Columns ``arm``, ``seed``, ``item``, ``score`` and optionally ``weight``, ``factor:NAME`` (the level of
            an item in a crossed factor, such as its template) and ``cluster:NAME`` (the cluster of an item).
        arms: The arms.
        blocked: Whether seeds are blocks. Seeds that an arm does not have are then excluded.

    Raises:
        WinnowError: If an arm does not exist (key ``arm``) or has fewer than 2 seeds (``seed``), a weight is not
            positive (``weight``), a score is duplicated (``scores``), or the arms have no item in common (``item``).
    """
    _check_arms([str(arm) for arm in scores["arm"].unique()], arms)
    selected = scores[scores["arm"].isin(arms)]
    if selected.duplicated(["arm", "seed", "item"]).any():
        raise WinnowError(
            "expected one row per arm, seed and item, got duplicates. Remove the duplicate rows.", key="scores"
        )
    wide = selected.pivot(index=["arm", "seed"], columns="item", values="score").astype(float)
    wide = wide.where(np.isfinite(wide))
    tables, excluded_seeds = _select_seeds([_select_arm(wide, arm) for arm in arms], arms, blocked)
    is_scored = np.all([table.notna().to_numpy().mean(axis=0) > 0.5 for table in tables], axis=0)
    if not is_scored.any():
        names = join_names([repr(arm) for arm in arms])
        raise WinnowError(
            f"{names} have no item in common for which most seeds have a score. Score all runs on the same items.",
            key="item",
        )
    items = wide.columns[is_scored]
    weights = _get_weights(selected, items)
    matrices = [impute_missing(table[items].to_numpy(dtype=np.float64), weights) for table in tables]
    return ArmScores(
        tuple(arms),
        tuple(matrix for matrix, _ in matrices),
        weights,
        wide.shape[1] - len(items),
        blocked,
        tuple(missing for _, missing in matrices),
        tuple(excluded_seeds),
        _get_labels(selected, items, FACTOR_PREFIX),
        _get_labels(selected, items, CLUSTER_PREFIX),
    )


def _check_arms(available_arms: list[str], arms: Sequence[str]) -> None:
    for arm in arms:
        if arm not in available_arms:
            hint = did_you_mean(arm, available_arms)
            raise WinnowError(
                f"no arm named '{arm}' in the scores.{hint} Available: {', '.join(available_arms)}. Correct the name.",
                key="arm",
            )
    if repeated := [arm for index, arm in enumerate(arms) if arm in arms[:index]]:
        raise WinnowError(
            f"expected different arms, got '{repeated[0]}' twice. Change one of the two names.", key="arm"
        )


def _select_arm(wide: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the seeds x items table of an arm."""
    table = wide[wide.index.get_level_values("arm") == arm]
    return table.droplevel("arm")


def _select_seeds(
    tables: list[pd.DataFrame], arms: Sequence[str], blocked: bool
) -> tuple[list[pd.DataFrame], list[str]]:
    """Remove unusable seeds from the arms' tables. Return the tables and a description of each excluded seed.

    A seed is unusable if it has scores for fewer than half of the items. If seeds are blocks, a seed is also unusable
    if another arm has no run with that seed.
    """
    excluded_seeds, usable_tables = [], []
    for arm, table in zip(arms, tables, strict=True):
        score_counts = table.notna().sum(axis=1)
        is_usable = (score_counts >= 0.5 * table.notna().any(axis=0).sum()) & (score_counts > 0)
        excluded_seeds += [
            f"{arm} seed {seed} ({'scores for fewer than half of the items' if count else 'no finite score'})"
            for seed, count in score_counts[~is_usable].items()
        ]
        usable_tables.append(table[is_usable])
    if blocked:
        indices = [table.index for table in usable_tables]
        shared_seeds = functools.reduce(lambda shared, index: shared.intersection(index), indices)
        for arm, index in zip(arms, indices, strict=True):
            for seed in index.difference(shared_seeds):
                other_arm = next(
                    name for name, other_index in zip(arms, indices, strict=True) if seed not in other_index
                )
                excluded_seeds.append(f"{arm} seed {seed} (not in {other_arm})")
        usable_tables = [table.loc[shared_seeds] for table in usable_tables]
    sizes = [len(table) for table in usable_tables]
    if min(sizes) < 2:
        excluded_text = f" Excluded: {', '.join(excluded_seeds)}." if excluded_seeds else ""
        in_blocks = "" if not blocked else " in pairs" if len(arms) == 2 else " in blocks"
        counts = join_names([f"'{arm}' has {size}" for arm, size in zip(arms, sizes, strict=True)])
        raise WinnowError(
            f"{counts} finished seeds{in_blocks}; a contrast needs at least 2 per arm, and 5 are "
            f"recommended.{excluded_text} Run more seeds.",
            key="seed",
        )
    return usable_tables, excluded_seeds


def _get_weights(pair: pd.DataFrame, items: pd.Index) -> Array:
    """Return the weights of the items, scaled to mean 1."""
    if "weight" not in pair:
        return np.ones(len(items))
    raw = pair["weight"].astype(float)
    if (invalid := ~(np.isfinite(raw) & (raw > 0))).any():
        raise WinnowError(
            f"expected a positive number for each item, got {raw[invalid].iloc[0]:g} for item "
            f"'{pair['item'][invalid].iloc[0]}'. Set a positive weight for the item, or remove the item.",
            key="weight",
        )
    by_item = pair.groupby("item", observed=True)["weight"].agg(["min", "max"]).loc[items]
    if (by_item["min"] != by_item["max"]).any():
        raise WinnowError(
            "expected one weight per item, got different weights for different runs. Use the same held-out masks "
            "for all runs.",
            key="weight",
        )
    weights = by_item["min"].to_numpy(dtype=np.float64)
    scaled_weights: Array = weights / weights.mean()
    return scaled_weights


def _get_labels(pair: pd.DataFrame, items: pd.Index, prefix: str) -> dict[str, list[object]]:
    """Return each item's label in every column with the prefix; ``None`` if the column has no value for the item."""
    columns = [str(name) for name in pair.columns if str(name).startswith(prefix)]
    if not columns:
        return {}
    first = pair.groupby("item", observed=True)[columns].first().loc[items].astype(object)
    first = first.where(first.notna(), None)
    return {name.removeprefix(prefix): first[name].tolist() for name in columns if first[name].notna().any()}
