"""The figures of a comparison, each a list of panels in one look."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.comparison.analysis import Comparison
from winnow.comparison.collected_study import Study
from winnow.comparison.fill_tables import Fills, fills_by_prompt, short_list
from winnow.comparison.metric_scores import Metric
from winnow.comparison.verdict import Finding
from winnow.formatting import number
from winnow.reporting.curves import draw_curves, draw_probe_curves
from winnow.reporting.figures import GREY, INK, Figure, Panel, Style, render, styles
from winnow.reporting.fill_figures import draw_bars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase


def draw_comparison_figures(
    comparison: Comparison,
    study: Study,
    folder: Path | None = None,
    fills: dict[str, dict[str, Fills]] | None = None,
) -> dict[str, Figure]:
    """Draw every figure that the study has data for, and return them by name.

    The names are ``seeds``, ``contrasts``, ``contributions``, ``curves``, ``probe_curves``, ``fills`` and ``funnel``.

    Args:
        comparison: The comparison.
        study: What it was made of.
        folder: Where the files go; without one the figures are drawn for a page or a notebook only.
        fills: The fills by prompt, where they are known already.
    """
    fills = fills_by_prompt(study) if fills is None else fills
    look = styles({name: arm.role for name, arm in comparison.arms.items()})
    drawn = [
        _seeds(comparison, look, folder),
        _contrasts(comparison, look, folder),
        _contributions(comparison, look, folder),
        draw_curves(study, look, folder),
        draw_probe_curves(study, look, folder),
        _fills(study, short_list(fills), look, folder),
        _funnel(study, look, folder),
    ]
    return {figure.name: figure for figure in drawn if figure}


def _seeds(comparison: Comparison, look: dict[str, Style], folder: Path | None) -> Figure | None:
    metric = Metric(comparison.primary_metric)
    arms = {name: arm for name, arm in comparison.arms.items() if arm.n}
    if not arms:
        return None

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, (name, arm) in enumerate(arms.items()):
            style = look[name]
            axes.plot(
                arm.values,
                [row - 0.14] * len(arm.values),
                style.marker,
                color=style.colour,
                alpha=0.55,
                ms=5,
                mew=0,
            )
            _interval(axes, row + 0.16, arm.mean, arm.ci_low, arm.ci_high, style)
        if comparison.base:
            axes.axvline(comparison.base.mean, color=GREY, lw=1.1, ls=(0, (4, 3)))
            axes.annotate(
                "base model",
                (comparison.base.mean, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -2),
                textcoords="offset points",
                va="top",
                color=GREY,
                fontsize=8,
            )
        _rows(axes, list(arms))
        axes.set_xlabel(metric.label)

    caption = (
        f"Each point is one seed; the larger mark is the mean of its arm, the bar its {comparison.confidence:.0%} "
        "interval over seeds." + (" The dashed line is the model before training." if comparison.base else "")
    )
    return render(
        "seeds",
        caption,
        [Panel("Seeds, mean and interval of each arm", draw, 4.6, 0.9 + 0.62 * len(arms))],
        folder,
    )


def _contrasts(comparison: Comparison, look: dict[str, Style], folder: Path | None) -> Figure | None:
    by_metric: dict[str, list[Finding]] = {}
    for finding in comparison.findings:
        if finding.family != "descriptive":
            by_metric.setdefault(finding.metric, []).append(finding)
    panels = [_forest(Metric(name), findings, look) for name, findings in by_metric.items()]
    caption = (
        f"Differences with their {comparison.confidence:.0%} interval for new seeds and new prompts or rows, before "
        "Holm's adjustment. The thin grey bar is the bootstrap's interval."
    )
    return render("contrasts", caption, panels, folder) if panels else None


def _forest(metric: Metric, findings: list[Finding], look: dict[str, Style]) -> Panel:
    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, finding in enumerate(findings):
            r = finding.result
            axes.plot(finding.bootstrap, [row + 0.27] * 2, color=GREY, lw=1.4, solid_capstyle="butt")
            _interval(axes, row, r.difference, r.ci_low, r.ci_high, look[r.a])
        axes.axvline(0, color=INK, lw=0.9)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.08 * (high - low)), max(high, 0.08 * (high - low)))
        _rows(axes, [f"{f.result.a}\nminus {f.result.b}" for f in findings])
        _title(figure, metric.label)
        axes.set_xlabel("higher is better" if metric.higher_is_better else "lower is better")

    return Panel(f"Contrasts in {metric.label}", draw, 4.6, 1.05 + 0.5 * len(findings))


def _contributions(comparison: Comparison, look: dict[str, Style], folder: Path | None) -> Figure | None:
    metric = Metric(comparison.primary_metric)
    sign = 1 if metric.higher_is_better else -1
    found = sorted(comparison.contributions.items(), key=lambda entry: -sign * entry[1].result.difference)
    if not found:
        return None

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, (_, finding) in enumerate(found):
            r = finding.result
            _interval(axes, row, r.difference, r.ci_low, r.ci_high, look[r.a])
        axes.axvline(0, color=INK, lw=0.9)
        _rows(axes, [signal for signal, _ in found])
        axes.set_xlabel(f"added to {metric.label}")

    caption = (
        f"The filter less the filter without the signal, with {comparison.confidence:.0%} intervals for new seeds and "
        "new prompts or rows. A signal right of 0 raises the metric, one at 0 could be left out."
    )
    panel = Panel(f"What each signal adds to {metric.label}", draw, 4.6, 0.9 + 0.42 * len(found))
    return render("contributions", caption, [panel], folder)


def _fills(study: Study, prompts: dict[str, Fills], look: dict[str, Style], folder: Path | None) -> Figure | None:
    declared = study.declaration
    pair = [("v1", declared.baseline), ("v2", declared.filter)]
    panels = [
        _fill(prompt, {f"{version}: {arm}": (dict(by_arm[arm]), look[arm]) for version, arm in pair if arm})
        for prompt, by_arm in prompts.items()
        if all(arm in by_arm for _, arm in pair)
    ]
    caption = (
        "The ten most likely fills of each prompt, mean probability over seeds; hatched bars are words that the other "
        "arm does not have among its ten."
    )
    return render("fills", caption, panels, folder, columns=3) if panels else None


def _fill(prompt: str, arms: dict[str, tuple[dict[str, float], Style]]) -> Panel:
    def draw(figure: FigureBase) -> None:
        top = {title: fills for title, (fills, _) in arms.items()}
        rows = np.atleast_1d(figure.subplots(len(arms), 1, sharex=True))
        for axes, (title, (_, style)) in zip(rows, arms.items(), strict=True):
            others = {word for other, words in top.items() if other != title for word in words}
            draw_bars(axes, list(top[title].items()), style, others, title)
        rows[-1].set_xlabel("probability")
        _title(figure, prompt, lines=2)

    return Panel(f"Top ten fills of: {prompt}", draw, 3.6, 5.2)


def _funnel(study: Study, look: dict[str, Style], folder: Path | None) -> Figure | None:
    tested = study.declaration.filter
    summary = study.filters.get(tested or "", {})
    stages = summary.get("funnel") or []
    if not stages:
        return None
    total = max(1, *(stage["rows"] for stage in stages))

    from matplotlib.ticker import MaxNLocator

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, stage in enumerate(stages):
            axes.barh(row, stage["rows"], color=look[str(tested)].colour, alpha=0.85, height=0.62)
            axes.annotate(
                f"{stage['rows']:,}  ({stage['rows'] / total:.0%})",
                (stage["rows"], row),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        _rows(axes, [str(stage["stage"]) for stage in stages])
        axes.set_xlim(0, total * 1.22)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("training rows left")

    caption = f"How many training rows are left after each term of {tested}, applied one after the other."
    return render("funnel", caption, [Panel(f"Funnel of {tested}", draw, 4.6, 0.8 + 0.36 * len(stages))], folder)


def _interval(axes: Axes, row: float, mean: float, low: float, high: float, style: Style) -> None:
    axes.plot([low, high], [row, row], color=style.colour, lw=2.2, solid_capstyle="butt")
    axes.plot([mean], [row], style.marker, color=style.colour, ms=8, mec="white", mew=0.8)
    axes.annotate(number(mean), (mean, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=7.5)


def _title(figure: FigureBase, text: str, lines: int = 1) -> None:
    """Head a panel, keeping room for as many lines as its neighbours may need."""
    wrapped = textwrap.wrap(text, 42)
    padded = wrapped + [" "] * (lines - len(wrapped))
    figure.suptitle("\n".join(padded), fontsize=9.5, fontweight="bold", x=0.01, ha="left")


def _rows(axes: Any, labels: list[str]) -> None:
    """Name the rows of a chart, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
