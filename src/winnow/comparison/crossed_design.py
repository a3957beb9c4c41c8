"""A table of scores as seeds x items, over the items that most seeds of both arms scored."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.item_structure import ItemStructure, structure_of
from winnow.comparison.missing_cells import fill_missing
from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

CROSSED, NESTING = "factor:", "cluster:"
"""Prefixes of the columns that hold an item's level of a crossed factor, and the cluster that an item is nested in."""


@dataclass(frozen=True)
class Crossed:
    """Two arms as matrices of shape (seeds, items) over the same items, with item weights of mean 1.

    Attributes:
        a: The arm whose mean counts positively.
        b: The other arm.
        scores_a: Its scores, complete; see ``missing``.
        scores_b: Those of the other arm. If ``blocked``, its seeds are those of ``a``, in the same order.
        weights: The items' weights.
        items_left_out: Items that half of an arm's seeds or more did not score.
        blocked: Whether seeds are blocks: the same seed of both arms is one pair.
        missing: Cells of each arm that hold an additive fit, since the run has no score there.
        seeds_left_out: Seeds without scores, or without a partner, by name.
        factors: For each crossed factor the level of each item.
        clusters: For each nesting factor the cluster of each item.
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
        """Each seed's weighted mean over the items, of either arm."""
        return (self.scores_a * self.weights).mean(axis=1), (self.scores_b * self.weights).mean(axis=1)

    @property
    def samples(self) -> list[tuple[str, Array, float]]:
        """The independent samples of seeds, each with its name and its missing cells.

        They are the two arms, or the differences of the pairs if seeds are blocks.
        """
        if self.blocked:
            # A pair with one fitted half keeps the residual of the other half.
            return [("pairs", self.scores_a - self.scores_b, sum(self.missing) / 2)]
        return [(self.a, self.scores_a, self.missing[0]), (self.b, self.scores_b, self.missing[1])]

    @functools.cached_property
    def structure(self) -> ItemStructure:
        """Which items are alike."""
        return structure_of(self.weights, self.factors, self.clusters)


def cross(scores: pd.DataFrame, a: str, b: str, blocked: bool = False) -> Crossed:
    """Lay two arms out as seeds x items.

    A run without a finite score is left out and named. So is an item that half of an arm's seeds or more did not
    score. The cells that are still missing are filled; see :func:`winnow.comparison.missing_cells.fill_missing`.

    Args:
        scores: Columns ``arm``, ``seed``, ``item``, ``score`` and optionally ``weight``, ``factor:NAME`` (the level of
            an item in a crossed factor, such as its template) and ``cluster:NAME`` (the cluster of an item).
        a: One arm.
        b: The other.
        blocked: Pair the seeds of the arms; a seed that one arm lacks is left out.

    Raises:
        WinnowError: An arm is absent or has fewer than 2 seeds, a weight is not positive, or no item is shared.
    """
    _check_arms([str(arm) for arm in scores["arm"].unique()], a, b)
    pair = scores[scores["arm"].isin([a, b])]
    if pair.duplicated(["arm", "seed", "item"]).any():
        raise WinnowError("The scores hold the same arm, seed and item more than once; keep one row of each.")
    wide = pair.pivot(index=["arm", "seed"], columns="item", values="score").astype(float)
    wide = wide.where(np.isfinite(wide))
    tables, left_out = _usable_seeds([_of_arm(wide, arm) for arm in (a, b)], (a, b), blocked)
    most = np.all([table.notna().to_numpy().mean(axis=0) > 0.5 for table in tables], axis=0)
    if not most.any():
        raise WinnowError(f"'{a}' and '{b}' share no item that most seeds scored; score all on the same items.")
    items = wide.columns[most]
    weights = _weights(pair, items)
    sides = [fill_missing(table[items].to_numpy(dtype=np.float64), weights) for table in tables]
    return Crossed(
        a,
        b,
        sides[0][0],
        sides[1][0],
        weights,
        wide.shape[1] - len(items),
        blocked,
        (sides[0][1], sides[1][1]),
        tuple(left_out),
        _labels(pair, items, CROSSED),
        _labels(pair, items, NESTING),
    )


def _check_arms(arms: list[str], a: str, b: str) -> None:
    for arm in (a, b):
        if arm not in arms:
            raise WinnowError(
                f"There is no arm '{arm}' in the scores, which hold {', '.join(arms)}.{did_you_mean(arm, arms)}",
                key="arm",
            )
    if a == b:
        raise WinnowError(f"'{a}' is compared with itself. Name two different arms.", key="arm")


def _of_arm(wide: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return an arm's table of seeds x items."""
    table = wide[wide.index.get_level_values("arm") == arm]
    return table.droplevel("arm")


def _usable_seeds(
    tables: list[pd.DataFrame], arms: tuple[str, str], blocked: bool
) -> tuple[list[pd.DataFrame], list[str]]:
    """Return each arm's table without the seeds that scored hardly anything, and without unpaired ones if blocked."""
    left_out, kept = [], []
    for arm, table in zip(arms, tables, strict=True):
        scored = table.notna().sum(axis=1)
        usable = (scored >= 0.5 * table.notna().any(axis=0).sum()) & (scored > 0)
        left_out += [
            f"{arm} seed {seed} ({'scored less than half of the items' if scored[seed] else 'no finite score'})"
            for seed in table.index[~usable]
        ]
        kept.append(table[usable])
    if blocked:
        shared = kept[0].index.intersection(kept[1].index)
        for arm, other, table in zip(arms, reversed(arms), kept, strict=True):
            left_out += [f"{arm} seed {seed} (not in {other})" for seed in table.index.difference(shared)]
        kept = [table.loc[shared] for table in kept]
    n_a, n_b = map(len, kept)
    if min(n_a, n_b) < 2:
        absent = f" Left out: {', '.join(left_out)}." if left_out else ""
        paired = " in pairs, because seeds are blocks" if blocked else ""
        raise WinnowError(
            f"'{arms[0]}' has {n_a} and '{arms[1]}' has {n_b} finished seeds{paired}; a contrast needs at least 2 of "
            f"each, and 5 for a firm answer.{absent} Run more seeds.",
            key="seed",
        )
    return kept, left_out


def _weights(pair: pd.DataFrame, items: pd.Index) -> Array:
    """Return the items' weights, of mean 1."""
    if "weight" not in pair:
        return np.ones(len(items))
    given = pair["weight"].astype(float)
    if (wrong := ~(np.isfinite(given) & (given > 0))).any():
        raise WinnowError(
            f"weight: expected a positive number for each item, got {given[wrong].iloc[0]:g} for item "
            f"'{pair['item'][wrong].iloc[0]}'. Leave out items without weight.",
            key="weight",
        )
    by_item = pair.groupby("item", observed=True)["weight"].agg(["min", "max"]).loc[items]
    if (by_item["min"] != by_item["max"]).any():
        raise WinnowError("An item's weight differs between seeds or arms; held-out masks must be the same for all.")
    weights = by_item["min"].to_numpy(dtype=np.float64)
    mean_one: Array = weights / weights.mean()
    return mean_one


def _labels(pair: pd.DataFrame, items: pd.Index, prefix: str) -> dict[str, list[object]]:
    """Return the levels of the items for each column with a prefix; ``None`` if an item has none."""
    columns = [str(name) for name in pair.columns if str(name).startswith(prefix)]
    if not columns:
        return {}
    first = pair.groupby("item", observed=True)[columns].first().loc[items].astype(object)
    first = first.where(first.notna(), None)
    return {name.removeprefix(prefix): first[name].tolist() for name in columns if first[name].notna().any()}
