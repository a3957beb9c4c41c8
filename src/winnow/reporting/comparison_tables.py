"""Build the tables of a comparison: arms, seeds, contrasts, contributions, n-gram baselines, slices and metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from winnow.comparison.analysis import Comparison
from winnow.comparison.findings import Finding
from winnow.formatting import (
    format_confidence,
    format_count,
    format_interval,
    format_number,
    format_p_cell,
)
from winnow.reporting.dose_figure import build_dose_table
from winnow.reporting.expected_best_figure import build_expected_best_table
from winnow.reporting.factor_tables import build_factor_table
from winnow.reporting.ladder_figure import build_ladder_table
from winnow.reporting.ngram_tables import build_beyond_ngrams_table, build_ngram_table
from winnow.reporting.table_rendering import Table, build_table

Rows = Sequence[Mapping[str, Any]]

CONTRAST_FIELDS = ("a", "b", "difference", "ci_low", "ci_high", "p_value", "std_error", "df", "n_a", "n_b", "items")
SUMMARY_FIELDS = ("n", "mean", "std", "ci_low", "ci_high")


def build_comparison_tables(comparison: Comparison) -> list[Table]:
    """Return all non-empty tables of a comparison."""
    tables = [
        _build_arms(comparison),
        _build_seeds(comparison),
        *_build_filters(comparison),
        _build_contrasts(comparison),
        _build_contributions(comparison),
        build_factor_table(comparison),
        build_expected_best_table(comparison),
        build_dose_table(comparison),
        build_ladder_table(comparison),
    ]
    tables += [build_ngram_table(comparison), build_beyond_ngrams_table(comparison)]
    tables += [_build_slices(comparison), _build_metrics(comparison)]
    return [table for table in tables if len(table.data)]


def _build_arms(comparison: Comparison) -> Table:
    keys = ("role", *SUMMARY_FIELDS, "train_rows", "passes", "tokens", "seconds")
    rows = [{"arm": name, **_select_fields(arm, keys)} for name, arm in comparison.arms.items()]
    caption = (
        f"Mean {comparison.primary.label} of each arm over seeds. Rows, passes and tokens are also averaged over seeds."
    )
    columns = {
        "arm": _format_column(rows, "arm"),
        **_format_summary(rows, f"{format_confidence(comparison.confidence)} interval"),
    }
    counts = {
        "training rows": _format_column(rows, "train_rows", format_count),
        "passes": _format_column(rows, "passes", format_number),
        "tokens seen": _format_column(rows, "tokens", format_count),
    }
    return build_table(rows, "arms", caption, columns | counts)


def _build_seeds(comparison: Comparison) -> Table:
    metric = comparison.primary_metric
    rows = [
        {"arm": name, "seed": seed, metric: value, "run_id": run}
        for name, arm in comparison.arms.items()
        for seed, value, run in zip(arm.seeds, arm.values, arm.run_ids, strict=True)
    ]
    label = comparison.primary.label
    columns = {
        "arm": _format_column(rows, "arm"),
        "seed": _format_column(rows, "seed"),
        label: _format_column(rows, metric, format_number),
    }
    return build_table(rows, "seeds", f"{label[0].upper()}{label[1:]} of each seed.", columns)


def _build_filters(comparison: Comparison) -> list[Table]:
    """Return the table of the filters under test if there are several."""
    ranking = comparison.filter_ranking
    if ranking is None:
        return []
    rows = []
    for name, entry in ranking.filters.items():
        row: dict[str, Any] = {"filter": name}
        for key, finding in (("effect", entry.effect), ("control_effect", entry.control_effect)):
            row[key] = finding.result.difference if finding else math.nan
            row[f"{key}_p"] = finding.p_holm if finding else math.nan
        low, high = entry.rank_interval or (math.nan, math.nan)
        row |= {"outcome": entry.effect.outcome if entry.effect else "", "cause": entry.cause}
        rows.append(row | {"rank": entry.rank, "rank_low": low, "rank_high": high, "may_be_best": entry.may_be_best})
    columns = {
        "filter": _format_column(rows, "filter"),
        "effect": _format_column(rows, "effect", format_number),
        "p (adjusted)": _format_column(rows, "effect_p", format_p_cell),
        "effect vs. control": _format_column(rows, "control_effect", format_number),
        "p vs. control (adjusted)": _format_column(rows, "control_effect_p", format_p_cell),
        "rank": [f"{row['rank']} ({row['rank_low']} to {row['rank_high']})" if row["rank"] else "" for row in rows],
        "may be best": ["yes" if row["may_be_best"] else "no" for row in rows],
    }
    caption = (
        f"Effects of the filters on {comparison.primary.label}, with p-values adjusted for {ranking.contrasts} "
        "contrasts, and ranks with simultaneous intervals."
    )
    return [build_table(rows, "filters", caption, columns)]


def _build_contrasts(comparison: Comparison) -> Table:
    findings = comparison.findings
    rows = [{"family": f.family, "metric": f.metric, **_flatten_finding(f), "post_hoc": f.post_hoc} for f in findings]
    columns = {
        "contrast": [f"{f.result.a} - {f.result.b}" for f in findings],
        "metric": [comparison.metric(f.metric).label for f in findings],
        "difference": _format_column(rows, "difference", format_number),
        **_format_test(rows),
        "family": [f"{f.family}, post hoc" if f.post_hoc else f.family for f in findings],
    }
    caption = (
        f"Contrasts with {format_confidence(comparison.confidence)} intervals over seeds and over prompts or rows."
    )
    return build_table(rows, "contrasts", caption, columns)


def _build_contributions(comparison: Comparison) -> Table:
    rows = [{"signal": signal, **_flatten_finding(f)} for signal, f in comparison.contributions.items()]
    label = comparison.primary.label
    caption = f"What each signal adds to {label}: the full filter minus the filter without that signal."
    columns = {
        "signal": _format_column(rows, "signal"),
        "contribution": _format_column(rows, "difference", format_number),
        **_format_test(rows),
    }
    return build_table(rows, "contributions", caption, columns)


def _build_slices(comparison: Comparison) -> Table:
    arms, rows = list(comparison.arms), []
    for entry in comparison.slices:
        change = (
            (entry.change.difference, entry.change.ci_low, entry.change.ci_high) if entry.change else (math.nan,) * 3
        )
        means = {arm: entry.arms.get(arm, math.nan) for arm in arms}
        changes = dict(zip(("change", "change_low", "change_high"), change, strict=True))
        rows.append(
            {"split": entry.split, "slice": entry.name, "rows": entry.rows, "base": entry.base, **means, **changes}
        )
    columns = {"slice": _format_column(rows, "slice"), "rows": _format_column(rows, "rows", format_count)}
    columns |= {name: _format_column(rows, name, format_number) for name in (*arms, "change")}
    columns["interval"] = _format_intervals(rows, "change_low", "change_high")
    caption = "Loss by held-out slice, mean over seeds, and the change from the baseline to the filter."
    return build_table(rows, "slices", caption, columns)


def _build_metrics(comparison: Comparison) -> Table:
    rows = [
        {"metric": name, "arm": arm, **_select_fields(points, SUMMARY_FIELDS)}
        for name, by_arm in comparison.metrics.items()
        for arm, points in by_arm.items()
    ]
    columns = {
        "metric": _format_column(rows, "metric"),
        "arm": _format_column(rows, "arm"),
        **_format_summary(rows, "interval"),
    }
    return build_table(rows, "metrics", "All final metrics of every arm (descriptive, not tested).", columns)


def _select_fields(source: Any, keys: Iterable[str]) -> dict[str, Any]:
    return {key: getattr(source, key) for key in keys}


def _flatten_finding(finding: Finding) -> dict[str, Any]:
    return {
        **_select_fields(finding.result, CONTRAST_FIELDS),
        "p_holm": finding.p_holm,
        "adjustment": finding.adjustment,
        "outcome": finding.outcome or "",
        "bootstrap_low": finding.bootstrap[0],
        "bootstrap_high": finding.bootstrap[1],
        "permutation_p": finding.permutation_p,
    }


def _format_column(rows: Rows, key: str, format_entry: Any = str) -> list[str]:
    return [format_entry(row[key]) for row in rows]


def _format_intervals(rows: Rows, low: str = "ci_low", high: str = "ci_high") -> list[str]:
    return [format_interval(row[low], row[high]) for row in rows]


def _format_summary(rows: Rows, heading: str) -> dict[str, list[str]]:
    """Return the columns that summarize a distribution over seeds."""
    means = {key: _format_column(rows, key, format_number) for key in ("mean", "std")}
    return {"seeds": _format_column(rows, "n"), **means, heading: _format_intervals(rows)}


def _format_test(rows: Rows) -> dict[str, list[str]]:
    """Return the columns of a test: the interval and the p-values."""
    is_joint = any(row["adjustment"] == "joint" for row in rows)
    return {
        "interval": _format_intervals(rows),
        "p": _format_column(rows, "p_value", format_p_cell),
        f"p ({'adjusted' if is_joint else 'Holm'})": _format_column(rows, "p_holm", format_p_cell),
    }
