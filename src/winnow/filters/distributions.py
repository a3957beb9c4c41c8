"""How scores are distributed, where a signal cuts them, and how far two distributions lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from winnow.filters.expression import Compare, Name, leaves
from winnow.filters.verdicts import Verdicts

Scores = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BINS, FEW, PSI_BINS = 40, 8, 10
_TAIL = 0.005
_UPWARDS = {">": True, ">=": True, "<": False, "<=": False}


def histograms(verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """Return of each signal how the train rows' scores are distributed.

    Returns:
        By signal the ``edges`` of the bins (one more than bins), how many ``kept`` and ``dropped`` rows fall into each,
        how many scores are ``null``, whether the scores are ``whole`` numbers, which then stand in the middle of their
        bins, how many scores lie ``outside`` and are counted in the first or last bin, and the ``cuts``: see
        :func:`cuts`. A signal whose scores are all null is left out.
    """
    kept = verdicts.kept("train")
    found = {}
    for name in verdicts.signals:
        scores = numbers(verdicts, name)
        known = ~np.isnan(scores)
        if not known.any():
            continue
        parted = cuts(verdicts, name, scores)
        edges = bin_edges(scores[known], parted[0]["at"] if parted else None)
        inside = np.clip(scores, edges[0], edges[-1])
        outside = int(((scores < edges[0]) | (scores > edges[-1])).sum())
        found[name] = {
            "edges": edges.tolist(),
            "kept": np.histogram(inside[known & kept], edges)[0].tolist(),
            "dropped": np.histogram(inside[known & ~kept], edges)[0].tolist(),
            "null": int((~known).sum()),
            "whole": _whole(scores[known]),
            "outside": outside,
            "cuts": parted,
        }
    return found


def numbers(verdicts: Verdicts, signal: str, split: Any = "train") -> Scores:
    """Return the scores of a signal for the rows of a split; what it cannot say is nan."""
    scores: Scores = verdicts.column(f"{signal}.score", split).to_numpy().astype(np.float64)
    return scores


def bin_edges(scores: Scores, anchor: float | None = None) -> Scores:
    """Return the edges of bins for scores: one bin a value where they are few whole numbers, else bins of one width.

    A long tail is cut off where most bins would be empty without that. Of fractions, one edge lies at ``anchor``, so
    that no bin holds scores from both sides of it.
    """
    low, high, whole = float(scores.min()), float(scores.max()), _whole(scores)
    inner = np.quantile(scores, [_TAIL, 1 - _TAIL])
    if high - low > 3 * (inner[1] - inner[0]) > 0 and not (whole and high - low < FEW):
        low, high = float(inner[0]), float(inner[1])
    if whole:
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / BINS))
        return np.arange(low - 0.5, high + width, width)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    if anchor is None or not low < anchor < high:
        return edges
    place = np.searchsorted(edges, anchor)
    edges += anchor - edges[place]  # to the left, by less than a bin
    edges[place] = anchor  # to the last digit, since many scores may be the anchor itself
    return np.append(edges, edges[-1] + edges[1] - edges[0]) if edges[-1] <= high else edges


def cuts(verdicts: Verdicts, signal: str, scores: Scores) -> list[dict[str, Any]]:
    """Return where the filter parts a signal's scores, from low to high.

    A comparison in the expression is told as it is written. A signal's own threshold is read off its verdicts: it lies
    between two neighbouring scores that are judged differently, and the roundest number there is told.

    Returns:
        For each cut the number ``at`` which it lies and whether scores above it are the ones that ``pass_above``; None
        where only the number itself passes or fails.
    """
    found: dict[float, bool | None] = {}
    used = list(leaves(verdicts.expression))
    for leaf in used:
        if isinstance(leaf, Compare) and leaf.signal.name == signal:
            found[leaf.number] = _UPWARDS.get(leaf.comparison)
    if not found or any(isinstance(leaf, Name) and leaf.name == signal for leaf in used):
        verdict = pc.fill_null(verdicts.column(f"{signal}.keep", "train"), False).to_numpy()
        values, first = np.unique(scores[~np.isnan(scores)], return_index=True)
        passes = verdict[~np.isnan(scores)][first]
        for place in np.flatnonzero(passes[1:] != passes[:-1]):
            found[_between(values[place], values[place + 1], _whole(values))] = bool(passes[place + 1])
    return [{"at": at, "pass_above": found[at]} for at in sorted(found)]


def _between(low: float, high: float, whole: bool) -> float:
    middle = (low + high) / 2
    if whole:
        return float(middle)
    rounded = (round(middle, digits) for digits in range(-3, 12))
    return float(next((one for one in rounded if low <= one <= high), middle)) + 0.0


def drifts(verdicts: Verdicts) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return of each signal how far its scores move from all train rows (v1) to others.

    Returns:
        By signal and by what is compared with all train rows: ``kept``, those that the filter keeps (v2), and the
        splits ``validation`` and ``test``. See :func:`drift` for the numbers.
    """
    kept = verdicts.kept("train")
    found = {}
    for name in verdicts.signals:
        train = numbers(verdicts, name)
        others = {"kept": train[kept]}
        others |= {split: numbers(verdicts, name, split) for split in ("validation", "test")}
        found[name] = {other: drift(train, scores) for other, scores in others.items()}
    return found


def drift(before: Scores, after: Scores) -> dict[str, float | None]:
    """Return how far scores move from one set of rows to another; nan is a score that is not known.

    Returns:
        The population stability index ``psi`` (Siddiqi 2006; by rule of thumb below 0.1 is little and above 0.25 much),
        the earth mover's distance ``emd`` in the unit of the score, the same in standard deviations of ``before``
        (``emd_sd``), and both means. None where there is nothing to compare.
    """
    from scipy.stats import wasserstein_distance

    one, other = before[~np.isnan(before)], after[~np.isnan(after)]
    if not len(one) or not len(other):
        empty = ("psi", "emd", "emd_sd", "mean_before", "mean_after")
        return dict.fromkeys(empty)
    moved = float(wasserstein_distance(one, other))
    spread = float(one.std())
    return {
        "psi": stability_index(before, after),
        "emd": moved,
        "emd_sd": moved / spread if spread else 0.0 if moved == 0 else None,
        "mean_before": float(one.mean()),
        "mean_after": float(other.mean()),
    }


def stability_index(before: Scores, after: Scores) -> float:
    """Return the population stability index: the sum over bins of (p - q) ln(p / q).

    The bins are the tenths of ``before``, or its values where they are few; scores that are not known are a bin of
    their own. Half a row is added to each bin, so that an empty one counts as rare and not as impossible.
    """
    known = before[~np.isnan(before)]
    values = np.unique(known)
    edges = (
        values[1:] if len(values) <= PSI_BINS else np.unique(np.quantile(known, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
    )
    shares = []
    for scores in (before, after):
        place = np.searchsorted(edges, scores[~np.isnan(scores)], side="right")
        counts = np.append(np.bincount(place, minlength=len(edges) + 1), np.isnan(scores).sum()) + 0.5
        shares.append(counts / counts.sum())
    p, q = shares
    return float(((p - q) * np.log(p / q)).sum())


def _whole(scores: Scores) -> bool:
    return bool((scores == np.round(scores)).all())
