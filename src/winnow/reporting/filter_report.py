"""One page that explains a filter: what was asked, which rows went and why, what each signal is worth and costs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow import __version__
from winnow.data import Corpus
from winnow.filters.examples import select_examples
from winnow.filters.expression import iter_names
from winnow.filters.planner import ScoringPlan
from winnow.filters.signals.lexical import Regex
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.signal import Signal
from winnow.filters.verdicts import Verdicts
from winnow.reporting.filter_figures import draw_filter_figures
from winnow.reporting.page import render_page

NAME = "report.html"
_LISTED = 6
"""From how many entries on a list is folded away."""

_LITTLE, _MUCH = 0.1, 0.25
"""Siddiqi's rule of thumb for the population stability index."""


def write_filter_report(
    verdicts: Verdicts,
    corpus: Corpus,
    statistics: Mapping[str, Any],
    signals: Mapping[str, Signal],
    folder: Path,
    plan: ScoringPlan | None = None,
    pictures: bool = True,
) -> Path:
    """Write ``report.html``, a page that needs no other file.

    Args:
        verdicts: The filter's verdicts.
        corpus: The rows judged.
        statistics: What :func:`~winnow.filters.compute_filter_statistics` gives for them.
        signals: The filter's signals, by name.
        folder: Where the page goes.
        plan: The order of asking that was found cheapest, if it was looked for.
        pictures: Whether the pictures are also written into ``folder/figures``, as SVG and PNG.

    Returns:
        The page.
    """
    summary = verdicts.summary()
    used = {name.name for name, _ in iter_names(verdicts.expression)}
    used_signals = {name: signal for name, signal in signals.items() if name in used}
    facts = {
        "summary": summary,
        "statistics": statistics,
        "corpus": corpus,
        "expression": str(verdicts.expression),
        "parts": verdicts.parts,
        "on_null": "kept" if verdicts.keep_null else "dropped",
        "asked": verdicts.term_order,
        "signals": {name: describe(signal) for name, signal in signals.items() if name in verdicts.signals},
        "unused": [name for name in verdicts.signals if name not in used],
        "sentences": sentences(summary, statistics),
        "superfluous": [*statistics.get("redundant", []), *almost_redundant(summary, statistics)],
        "costs": _costs(verdicts),
        "plan": plan if plan and plan.full_cost else None,
        "drift_word": drift_word,
        "examples": select_examples(verdicts, corpus, used_signals),
        "marking": [name for name, signal in used_signals.items() if isinstance(signal, Mentions | Regex)],
        "figures": draw_filter_figures(summary, statistics, folder / "figures" if pictures else None),
        "version": __version__,
        "fingerprint": verdicts.fingerprint,
    }
    page = folder / NAME
    page.write_text(render_page("filter.html", facts), encoding="utf-8")
    return page


def describe(signal: Signal) -> dict[str, Any]:
    """Return what a signal is and how it is set, for people.

    Returns:
        ``kind``, what it ``does`` (the first sentence of its documentation), its ``settings`` that are not the usual
        ones, its long ``lists`` of words, its ``version``, ``cost`` and ``fingerprint``.
    """
    settings: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    given: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(signal) if dataclasses.is_dataclass(signal) else ()
    for field in given:
        value = getattr(signal, field.name)
        if isinstance(value, list) and len(value) > _LISTED:
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


def sentences(summary: Mapping[str, Any], statistics: Mapping[str, Any]) -> list[str]:
    """Return what a person should know first."""
    train = summary["rows"]["train"]
    dropped = train["total"] - train["kept"]
    told = [f"{summary['filter']} keeps {train['kept']:,} of {train['total']:,} training rows and drops {dropped:,}."]
    terms = statistics["terms"]
    if statistics.get("reasons"):
        alone = max(terms, key=lambda term: int(terms[term]["only"]))
        several = dropped - sum(counts["only"] for counts in terms.values())
        if terms[alone]["only"]:
            share = terms[alone]["only"] / dropped
            told.append(f"`{alone}` alone drops {terms[alone]['only']:,} of these ({share:.0%}), more than any other.")
        if len(terms) > 1:
            told.append(f"{several:,} rows ({several / dropped:.0%}) are dropped for more than one reason.")
    told += statistics.get("redundant", []) + almost_redundant(summary, statistics)
    if (labels := statistics.get("labels")) and labels.get("precision") is not None:
        told.append(
            f"Of the kept rows with a label, {labels['precision']:.1%} are labelled 1; of the rows labelled 1, "
            f"{labels['recall']:.1%} are kept."
        )
    return told


def almost_redundant(summary: Mapping[str, Any], statistics: Mapping[str, Any]) -> list[str]:
    """Name the terms that remove less than a thousandth of the rows by themselves, one sentence each."""
    total = summary["rows"]["train"]["total"]
    return [
        f"`{term}` removes next to nothing that the others keep: {counts['only']:,} of {total:,} rows."
        for term, counts in statistics["terms"].items()
        if 0 < counts.get("only", 0) < 0.001 * total
    ]


def drift_word(psi: float | None) -> str:
    """Return in a word how far a distribution has moved.

    >>> drift_word(0.02), drift_word(0.2), drift_word(3.0)
    ('little', 'some', 'much')
    """
    if psi is None:
        return "not known"
    return "little" if psi < _LITTLE else "some" if psi < _MUCH else "much"


def _costs(verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return what each signal cost, the dearest first."""
    rows, total = verdicts.table.num_rows, sum(verdicts.seconds.values())
    found = [
        {
            "signal": name,
            "seconds": seconds,
            "microseconds": 1e6 * seconds / rows,
            "rows_per_second": rows / seconds if seconds else None,
            "share": seconds / total if total else 0.0,
        }
        for name, seconds in verdicts.seconds.items()
    ]
    return sorted(found, key=lambda one: -one["seconds"])
