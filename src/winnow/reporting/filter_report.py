"""Write the filter report: the expression, the dropped rows, the reasons, and each signal's effect and cost."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow import __version__
from winnow.data import Corpus
from winnow.filters.example_rows import select_examples
from winnow.filters.expression import iter_names
from winnow.filters.scoring_planner import ScoringPlan
from winnow.filters.signals.basic_signals import Regex
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.signal import Signal
from winnow.filters.verdicts import Verdicts
from winnow.reporting.filter_figures import draw_filter_figures
from winnow.reporting.page_rendering import render_page, write_page

REPORT_FILE_NAME = "report.html"
_MAX_INLINE_ENTRIES = 6
"""Lists with more entries are collapsed on the page."""

_SMALL_SHIFT, _LARGE_SHIFT = 0.1, 0.25
"""Siddiqi's limits for the population stability index. A shift is small below the first and large above the second."""


def write_filter_report(
    verdicts: Verdicts,
    corpus: Corpus,
    statistics: Mapping[str, Any],
    signals: Mapping[str, Signal],
    folder: Path,
    plan: ScoringPlan | None = None,
    save_figures: bool = True,
    refresh_seconds: float | None = None,
) -> Path:
    """Write the report of a filter as ``report.html``, a self-contained page.

    Args:
        verdicts: The filter's verdicts.
        corpus: The rows that the filter was applied to.
        statistics: Result of :func:`~winnow.filters.compute_filter_statistics`.
        signals: Signals of the filter, by name.
        folder: Output folder.
        plan: The plan with the cheapest order of the terms, or `None` if no order was estimated.
        save_figures: Whether to also save the figures in ``folder/figures`` as SVG and PNG.
        refresh_seconds: The interval at which a browser reloads the page; None if the report does not change.

    Returns:
        The path of the page.
    """
    summary = verdicts.summary()
    used_names = {name.name for name, _ in iter_names(verdicts.expression)}
    used_signals = {name: signal for name, signal in signals.items() if name in used_names}
    context = {
        "summary": summary,
        "statistics": statistics,
        "corpus": corpus,
        "expression": str(verdicts.expression),
        "subexpressions": verdicts.parts,
        "on_null": "kept" if verdicts.keep_null else "dropped",
        "term_order": verdicts.term_order,
        "signals": {name: describe_signal(signal) for name, signal in signals.items() if name in verdicts.signals},
        "unused": [name for name in verdicts.signals if name not in used_names],
        "sentences": summarize_filter(summary, statistics),
        "removable_terms": [*statistics.get("redundant", []), *describe_nearly_redundant_terms(summary, statistics)],
        "costs": _sort_costs(verdicts),
        "plan": plan if plan and plan.full_cost else None,
        "describe_drift": describe_drift,
        "examples": select_examples(verdicts, corpus, used_signals),
        "underlined_signals": [name for name, signal in used_signals.items() if isinstance(signal, Mentions | Regex)],
        "figures": draw_filter_figures(summary, statistics, folder / "figures" if save_figures else None),
        "version": __version__,
        "refresh_seconds": refresh_seconds,
        "fingerprint": verdicts.fingerprint,
    }
    page = folder / REPORT_FILE_NAME
    write_page(page, render_page("filter.html", context))
    return page


def describe_signal(signal: Signal) -> dict[str, Any]:
    """Return the text that describes a signal and its settings.

    Returns:
        ``kind``, ``does`` (the first sentence of the docstring), ``settings`` that differ from the defaults, long
        ``lists`` of words, ``version``, ``cost`` and ``fingerprint``.
    """
    settings: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(signal) if dataclasses.is_dataclass(signal) else ()
    for field in fields:
        value = getattr(signal, field.name)
        if inspect.isfunction(value):
            settings[field.name] = value.__name__
        elif isinstance(value, list) and len(value) > _MAX_INLINE_ENTRIES:
            lists[field.name] = sorted({str(entry) for entry in value})
        elif value is not None and value != field.default:
            settings[field.name] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return {
        "kind": type(signal).__name__,
        "does": " ".join((inspect.getdoc(type(signal)) or "").partition("\n\n")[0].split()).replace("``", ""),
        "settings": settings,
        "lists": lists,
        "version": signal.version,
        "cost": signal.cost,
        "fingerprint": signal.fingerprint(),
    }


def summarize_filter(summary: Mapping[str, Any], statistics: Mapping[str, Any]) -> list[str]:
    """Return the most important results of a filter, one sentence per result."""
    train = summary["rows"]["train"]
    dropped_count = train["total"] - train["kept"]
    lines = [
        f"{summary['filter']} keeps {train['kept']:,} of {train['total']:,} training rows and drops {dropped_count:,}."
    ]
    terms = statistics["terms"]
    if statistics.get("reasons"):
        leading_term = max(terms, key=lambda term: int(terms[term]["only"]))
        several_count = dropped_count - sum(counts["only"] for counts in terms.values())
        if terms[leading_term]["only"]:
            count = terms[leading_term]["only"]
            comparison = ", more than by any other single term" if len(terms) > 1 else ""
            lines.append(
                f"{count:,} of the dropped rows ({count / dropped_count:.0%}) are dropped by `{leading_term}` only"
                f"{comparison}."
            )
        if len(terms) > 1:
            lines.append(
                f"{several_count:,} rows ({several_count / dropped_count:.0%}) are dropped by more than one term."
            )
    lines += statistics.get("redundant", []) + describe_nearly_redundant_terms(summary, statistics)
    if (labels := statistics.get("labels")) and labels.get("precision") is not None:
        lines.append(
            f"Precision: {labels['precision']:.1%} of the kept rows with a label have label 1. "
            f"Recall: {labels['recall']:.1%} of the rows with label 1 are kept."
        )
    return lines


def describe_nearly_redundant_terms(summary: Mapping[str, Any], statistics: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each term without which a few rows, but fewer than 0.1% of all rows, would be kept."""
    total = summary["rows"]["train"]["total"]
    return [
        f"`{term}` drops almost no rows that the other terms keep: {counts['only']:,} of {total:,}."
        for term, counts in statistics["terms"].items()
        if 0 < counts.get("only", 0) < 0.001 * total
    ]


def describe_drift(psi: float | None) -> str:
    """Return the size of a distribution shift as one word, given its population stability index.

    >>> describe_drift(0.02), describe_drift(0.2), describe_drift(3.0)
    ('small', 'moderate', 'large')
    """
    if psi is None:
        return "unknown"
    return "small" if psi < _SMALL_SHIFT else "moderate" if psi < _LARGE_SHIFT else "large"


def _sort_costs(verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return the scoring cost of each signal, most expensive first."""
    rows, total = verdicts.table.num_rows, sum(verdicts.seconds.values())
    costs = [
        {
            "signal": name,
            "seconds": seconds,
            "microseconds": 1e6 * seconds / rows,
            "rows_per_second": rows / seconds if seconds else None,
            "fraction": seconds / total if total else 0.0,
        }
        for name, seconds in verdicts.seconds.items()
    ]
    return sorted(costs, key=lambda cost: -cost["seconds"])
