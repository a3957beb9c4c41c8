"""Compute histograms of scores, the thresholds that a filter applies to scores, and the drift between distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from winnow.filters.expression import Compare, Name, iter_leaves
from winnow.filters.verdicts import Verdicts

Scores = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

HISTOGRAM_BINS, MAX_UNCLIPPED_SCORE_RANGE, PSI_BINS = 40, 8, 10
_TAIL_FRACTION = 0.005
_SCORES_ABOVE_PASS = {">": True, ">=": True, "<": False, "<=": False}


def compute_histograms(verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """Compute a histogram of the training rows' scores for each signal.

    Returns:
        One entry per signal. ``edges``: the bin edges (one more than the number of bins). ``kept`` and ``dropped``: the
        number of rows per bin. ``null``: the number of null scores. ``whole``: whether all scores are whole numbers; if
        so, the edges lie halfway between whole numbers. ``outside``: the number of scores outside the edges, which are
        counted in the first or last bin. ``cuts``: see :func:`find_thresholds`. Signals with no scores are omitted.
    """
    kept = verdicts.keep_mask("train")
    result = {}
    for name in verdicts.signals:
        scores = get_scores(verdicts, name)
        scored = ~np.isnan(scores)
        if not scored.any():
            continue
        cuts = find_thresholds(verdicts, name, scores)
        edges = compute_bin_edges(scores[scored], cuts[0]["at"] if cuts else None)
        clipped = np.clip(scores, edges[0], edges[-1])
        outside = int(((scores < edges[0]) | (scores > edges[-1])).sum())
        result[name] = {
            "edges": edges.tolist(),
            "kept": np.histogram(clipped[scored & kept], edges)[0].tolist(),
            "dropped": np.histogram(clipped[scored & ~kept], edges)[0].tolist(),
            "null": int((~scored).sum()),
            "whole": _are_whole_numbers(scores[scored]),
            "outside": outside,
            "cuts": cuts,
        }
    return result


def get_scores(verdicts: Verdicts, signal: str, split: Any = "train") -> Scores:
    """Return the scores of a signal for the rows of a split; a null score is NaN."""
    scores: Scores = verdicts.column(f"{signal}.score", split).to_numpy().astype(np.float64)
    return scores


def compute_bin_edges(scores: Scores, anchor: float | None = None) -> Scores:
    """Return the edges of equal-width histogram bins. Whole numbers in a small range get one bin per value.

    A long tail is clipped if most bins would otherwise be empty. For fractional scores, one edge is placed at
    ``anchor``, so that no bin contains scores from both sides of the anchor.
    """
    low, high, whole = float(scores.min()), float(scores.max()), _are_whole_numbers(scores)
    inner_quantiles = np.quantile(scores, [_TAIL_FRACTION, 1 - _TAIL_FRACTION])
    if high - low > 3 * (inner_quantiles[1] - inner_quantiles[0]) > 0 and not (
        whole and high - low < MAX_UNCLIPPED_SCORE_RANGE
    ):
        low, high = float(inner_quantiles[0]), float(inner_quantiles[1])
    if whole:
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / HISTOGRAM_BINS))
        return np.arange(low - 0.5, high + width, width)
    edges = np.linspace(low, high if high > low else low + 1.0, HISTOGRAM_BINS + 1)
    if anchor is None or not low < anchor < high:
        return edges
    index = np.searchsorted(edges, anchor)
    edges += anchor - edges[index]  # shifts all edges to the left by less than one bin width
    # Set the edge exactly: many scores may equal the anchor, and a rounding error would move them to the other bin.
    edges[index] = anchor
    return np.append(edges, edges[-1] + edges[1] - edges[0]) if edges[-1] <= high else edges


def find_thresholds(verdicts: Verdicts, signal: str, scores: Scores) -> list[dict[str, Any]]:
    """Return the thresholds that the filter applies to a signal's scores, in ascending order.

    A threshold in a comparison in the expression is returned as written. A signal's own threshold is inferred from its
    verdicts: it lies between two adjacent scores with different verdicts. The number with the fewest digits in that
    interval is returned.

    Returns:
        The value of each threshold (``at``), and whether scores above the threshold pass (``pass_above``).
        ``pass_above`` is None for ``==`` and ``!=``, because only the value itself passes or fails.
    """
    cuts: dict[float, bool | None] = {}
    leaves = list(iter_leaves(verdicts.expression))
    for leaf in leaves:
        if isinstance(leaf, Compare) and leaf.signal.name == signal:
            cuts[leaf.number] = _SCORES_ABOVE_PASS.get(leaf.comparison)
    if not cuts or any(isinstance(leaf, Name) and leaf.name == signal for leaf in leaves):
        verdict = pc.fill_null(verdicts.column(f"{signal}.keep", "train"), False).to_numpy()
        values, first = np.unique(scores[~np.isnan(scores)], return_index=True)
        passes = verdict[~np.isnan(scores)][first]
        for index in np.flatnonzero(passes[1:] != passes[:-1]):
            threshold = _find_shortest_number_between(values[index], values[index + 1], _are_whole_numbers(values))
            cuts[threshold] = bool(passes[index + 1])
    return [{"at": threshold, "pass_above": cuts[threshold]} for threshold in sorted(cuts)]


def _find_shortest_number_between(low: float, high: float, whole: bool) -> float:
    """Return the number with the fewest digits between two scores; for whole numbers, the midpoint."""
    middle = (low + high) / 2
    if whole:
        return float(middle)
    candidates = (round(middle, digits) for digits in range(-3, 12))
    return float(next((number for number in candidates if low <= number <= high), middle)) + 0.0


def compute_drifts(verdicts: Verdicts) -> dict[str, dict[str, dict[str, float | None]]]:
    """Compute the drift of each signal's scores from all training rows to other sets of rows.

    Returns:
        The result of :func:`compute_drift` by signal, then by set of rows: ``kept`` (the training rows that the filter
        keeps), ``validation`` and ``test`` (the held-out splits).
    """
    kept = verdicts.keep_mask("train")
    result = {}
    for name in verdicts.signals:
        train = get_scores(verdicts, name)
        scores_by_set = {"kept": train[kept]}
        scores_by_set |= {split: get_scores(verdicts, name, split) for split in ("validation", "test")}
        result[name] = {rows: compute_drift(train, scores) for rows, scores in scores_by_set.items()}
    return result


def compute_drift(before: Scores, after: Scores) -> dict[str, float | None]:
    """Compute the drift of scores from one set of rows to another. Missing scores are NaN.

    Returns:
        The population stability index ``psi`` (Siddiqi 2006; as a rule of thumb, values below 0.1 are small and values
        above 0.25 are large), the earth mover's distance in score units (``emd``) and in standard deviations of
        ``before`` (``emd_sd``), and the means (``mean_before`` and ``mean_after``). All values are None if ``before``
        or ``after`` has no scores.
    """
    from scipy.stats import wasserstein_distance

    valid_before, valid_after = before[~np.isnan(before)], after[~np.isnan(after)]
    if not len(valid_before) or not len(valid_after):
        return dict.fromkeys(("psi", "emd", "emd_sd", "mean_before", "mean_after"))
    distance = float(wasserstein_distance(valid_before, valid_after))
    std = float(valid_before.std())
    return {
        "psi": population_stability_index(before, after),
        "emd": distance,
        "emd_sd": distance / std if std else 0.0 if distance == 0 else None,
        "mean_before": float(valid_before.mean()),
        "mean_after": float(valid_after.mean()),
    }


def population_stability_index(before: Scores, after: Scores) -> float:
    """Compute the population stability index: the sum over bins of (p - q) ln(p / q).

    The bins are the deciles of ``before``, or the distinct values if there are at most ten. Missing scores are counted
    in a separate bin. A count of 0.5 is added to each bin, so that an empty bin's probability is small but not zero.
    """
    valid = before[~np.isnan(before)]
    values = np.unique(valid)
    edges = (
        values[1:] if len(values) <= PSI_BINS else np.unique(np.quantile(valid, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
    )
    proportions = []
    for scores in (before, after):
        bins = np.searchsorted(edges, scores[~np.isnan(scores)], side="right")
        counts = np.append(np.bincount(bins, minlength=len(edges) + 1), np.isnan(scores).sum()) + 0.5
        proportions.append(counts / counts.sum())
    p, q = proportions
    return float(((p - q) * np.log(p / q)).sum())


def _are_whole_numbers(scores: Scores) -> bool:
    return bool((scores == np.round(scores)).all())
