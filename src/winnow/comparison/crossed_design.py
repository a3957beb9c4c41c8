"""Laying a table of scores out as seeds x items, over the items that every seed of both arms scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Crossed:
    """Two arms as matrices of shape (seeds, items) over the same items, with item weights of mean 1."""

    a: str
    b: str
    scores_a: Array
    scores_b: Array
    weights: Array
    items_left_out: int = 0

    @property
    def seed_means(self) -> tuple[Array, Array]:
        """Each seed's weighted mean over the items, of either arm."""
        return (self.scores_a * self.weights).mean(axis=1), (self.scores_b * self.weights).mean(axis=1)


def cross(scores: pd.DataFrame, a: str, b: str) -> Crossed:
    """Lay two arms out as seeds x items, over the items that every seed of both scored."""
    arms = [str(arm) for arm in scores["arm"].unique()]
    for arm in (a, b):
        if arm not in arms:
            raise WinnowError(
                f"There is no arm '{arm}' in the scores, which hold {', '.join(arms)}.{did_you_mean(arm, arms)}",
                key="arm",
            )
    pair = scores[scores["arm"].isin([a, b])]
    if pair.duplicated(["arm", "seed", "item"]).any():
        raise WinnowError("The scores hold the same arm, seed and item more than once; keep one row of each.")
    table = pair.pivot(index=["arm", "seed"], columns="item", values="score")
    whole = table.dropna(axis="columns")
    n_a, n_b = (len(table.xs(arm, level="arm")) for arm in (a, b))
    if min(n_a, n_b) < 2:
        raise WinnowError(
            f"'{a}' has {n_a} and '{b}' has {n_b} finished seeds; a contrast needs at least 2 of each, "
            "and 5 for a firm answer. Run more seeds.",
            key="seed",
        )
    if whole.shape[1] == 0:
        raise WinnowError(f"'{a}' and '{b}' share no item that every seed scored; score all on the same items.")
    weights = np.ones(whole.shape[1])
    if "weight" in pair:
        by_item = pair.groupby("item")["weight"].agg(["min", "max"]).loc[whole.columns]
        if (by_item["min"] != by_item["max"]).any():
            raise WinnowError(
                "An item's weight differs between seeds or arms; held-out masks must be the same for all."
            )
        weights = by_item["min"].to_numpy(dtype=np.float64)
        weights = weights / weights.mean()
    left, right = (whole.xs(arm, level="arm").to_numpy(dtype=np.float64) for arm in (a, b))
    return Crossed(a, b, left, right, weights, table.shape[1] - whole.shape[1])
