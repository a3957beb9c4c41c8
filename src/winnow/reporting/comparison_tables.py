"""The tables of a comparison: arms, seeds, contrasts, contributions, slices and metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from winnow.comparison.analysis import Comparison
from winnow.comparison.verdict import Finding
from winnow.formatting import MINUS, interval, number, p_short, whole
from winnow.reporting.tables import Table, table_of

Rows = Sequence[Mapping[str, Any]]

CONTRAST = ("a", "b", "difference", "ci_low", "ci_high", "p_value", "std_error", "df", "n_a", "n_b", "items")
SPREAD = ("n", "mean", "std", "ci_low", "ci_high")


def tables(comparison: Comparison) -> list[Table]:
    """Return the tables of a comparison that are not empty: arms, seeds, contrasts, contributions, slices, metrics."""
    found = [_arms(comparison), _seeds(comparison), _contrasts(comparison), _contributions(comparison)]
    found += [_slices(comparison), _metrics(comparison)]
    return [table for table in found if len(table.data)]


def _arms(comparison: Comparison) -> Table:
    keys = ("role", *SPREAD, "train_rows", "tokens", "seconds")
    rows = [{"arm": name, **_values(arm, keys)} for name, arm in comparison.arms.items()]
    caption = f"Arms in {comparison.primary.label}, over seeds; rows and tokens are means per seed."
    shown = {"arm": _texts(rows, "arm"), **_spread(rows, f"{comparison.confidence:.0%} interval")}
    counts = {"rows": _texts(rows, "train_rows", whole), "tokens": _texts(rows, "tokens", whole)}
    return table_of(rows, "arms", caption, shown | counts)


def _seeds(comparison: Comparison) -> Table:
    metric = comparison.primary_metric
    rows = [
        {"arm": name, "seed": seed, metric: value, "run_id": run}
        for name, arm in comparison.arms.items()
        for seed, value, run in zip(arm.seeds, arm.values, arm.run_ids, strict=True)
    ]
    label = comparison.primary.label
    shown = {"arm": _texts(rows, "arm"), "seed": _texts(rows, "seed"), label: _texts(rows, metric, number)}
    return table_of(rows, "seeds", f"Each seed in {label}.", shown)


def _contrasts(comparison: Comparison) -> Table:
    found = comparison.findings
    rows = [{"family": f.family, "metric": f.metric, **_finding_values(f), "post_hoc": f.post_hoc} for f in found]
    shown = {
        "contrast": [f"{f.result.a} {MINUS} {f.result.b}" for f in found],
        "metric": [comparison.metric(f.metric).label for f in found],
        "difference": _texts(rows, "difference", number),
        **_test(rows),
        "family": [f"{f.family}, post hoc" if f.post_hoc else f.family for f in found],
    }
    caption = f"Contrasts with {comparison.confidence:.0%} intervals for new seeds and new prompts or rows."
    return table_of(rows, "contrasts", caption, shown)


def _contributions(comparison: Comparison) -> Table:
    rows = [{"signal": signal, **_finding_values(f)} for signal, f in comparison.contributions.items()]
    label = comparison.primary.label
    caption = f"What each signal adds to {label}: the filter less the filter without it."
    shown = {"signal": _texts(rows, "signal"), "adds": _texts(rows, "difference", number), **_test(rows)}
    return table_of(rows, "contributions", caption, shown)


def _slices(comparison: Comparison) -> Table:
    arms, rows = list(comparison.arms), []
    for s in comparison.slices:
        change = (s.change.difference, s.change.ci_low, s.change.ci_high) if s.change else (math.nan,) * 3
        means = {arm: s.arms.get(arm, math.nan) for arm in arms}
        changes = dict(zip(("change", "change_low", "change_high"), change, strict=True))
        rows.append({"split": s.split, "slice": s.name, "rows": s.rows, "base": s.base, **means, **changes})
    shown = {"slice": _texts(rows, "slice"), "rows": _texts(rows, "rows", whole)}
    shown |= {name: _texts(rows, name, number) for name in (*arms, "change")}
    shown["interval"] = _intervals(rows, "change_low", "change_high")
    caption = "Loss by held-out slice, mean over seeds, and how the filter changes it against the baseline."
    return table_of(rows, "slices", caption, shown)


def _metrics(comparison: Comparison) -> Table:
    rows = [
        {"metric": name, "arm": arm, **_values(points, SPREAD)}
        for name, by_arm in comparison.metrics.items()
        for arm, points in by_arm.items()
    ]
    shown = {"metric": _texts(rows, "metric"), "arm": _texts(rows, "arm"), **_spread(rows, "interval")}
    return table_of(rows, "metrics", "Every final metric of every arm, described and not tested.", shown)


def _values(of: Any, keys: Iterable[str]) -> dict[str, Any]:
    return {key: getattr(of, key) for key in keys}


def _finding_values(finding: Finding) -> dict[str, Any]:
    return {
        **_values(finding.result, CONTRAST),
        "p_holm": finding.p_holm,
        "outcome": finding.outcome or "",
        "bootstrap_low": finding.bootstrap[0],
        "bootstrap_high": finding.bootstrap[1],
        "permutation_p": finding.permutation_p,
    }


def _texts(rows: Rows, key: str, show: Any = str) -> list[str]:
    return [show(row[key]) for row in rows]


def _intervals(rows: Rows, low: str = "ci_low", high: str = "ci_high") -> list[str]:
    return [interval(row[low], row[high]) for row in rows]


def _spread(rows: Rows, heading: str) -> dict[str, list[str]]:
    """Return the columns of a distribution over seeds."""
    means = {key: _texts(rows, key, number) for key in ("mean", "std")}
    return {"seeds": _texts(rows, "n"), **means, heading: _intervals(rows)}


def _test(rows: Rows) -> dict[str, list[str]]:
    """Return the columns of a test: interval and p values."""
    return {
        "interval": _intervals(rows),
        "p": _texts(rows, "p_value", p_short),
        "p, Holm": _texts(rows, "p_holm", p_short),
    }
