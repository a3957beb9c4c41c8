"""The figures of a comparison, each a list of panels in one look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.comparison.analysis import Comparison
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.fill_tables import Fills, fills_by_prompt, select_example_prompts
from winnow.comparison.verdict import Finding
from winnow.formatting import number
from winnow.reporting.bars import draw_funnel, draw_top_fills
from winnow.reporting.curves import draw_study_losses, draw_study_probes
from winnow.reporting.figures import Figure, Panel, heading, name_rows, render
from winnow.reporting.style import GREY, INK, Style, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase


def draw_comparison_figures(
    comparison: Comparison,
    study: CollectedStudy,
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
        draw_study_losses(study, look, folder),
        draw_study_probes(study, look, folder),
        _fills(study, select_example_prompts(fills), look, folder),
        _funnel(study, folder),
    ]
    return {figure.name: figure for figure in drawn if figure}


def _seeds(comparison: Comparison, look: dict[str, Style], folder: Path | None) -> Figure | None:
    arms = {name: arm for name, arm in comparison.arms.items() if arm.n}

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, (name, arm) in enumerate(arms.items()):
            style = look[name]
            axes.plot(arm.values, [row - 0.26] * arm.n, style.marker, color=style.color, alpha=0.55, ms=5, mew=0)
            _interval(axes, row + 0.16, arm.mean, arm.ci_low, arm.ci_high, style)
        if comparison.base:
            axes.axvline(comparison.base.mean, color=GREY, lw=1.1, ls=(0, (4, 3)))
            top = axes.get_xaxis_transform()
            axes.text(comparison.base.mean, 1, " base model", va="top", color=GREY, fontsize=8, transform=top)
        name_rows(axes, list(arms))
        axes.set_xlabel(comparison.primary.axis_label)

    caption = (
        f"Each point is one seed; the larger mark is the mean of its arm, the bar its {comparison.confidence:.0%} "
        "interval over seeds." + (" The dashed line is the model before training." if comparison.base else "")
    )
    panel = Panel("Seeds, mean and interval of each arm", draw, 4.6, 0.9 + 0.62 * len(arms))
    return render("seeds", caption, [panel] if arms else [], folder)


def _contrasts(comparison: Comparison, look: dict[str, Style], folder: Path | None) -> Figure | None:
    by_metric: dict[str, dict[str, Finding]] = {}
    for finding in comparison.findings:
        if finding.family != "descriptive":
            r = finding.result
            by_metric.setdefault(finding.metric, {})[f"{r.a}\nminus {r.b}"] = finding
    panels = []
    for name, findings in by_metric.items():
        metric = comparison.metric(name)
        better = f"{metric.direction or 'neither'} is better"
        panels.append(_forest(f"Contrasts in {metric.label}", findings, look, better, metric.label))
    caption = (
        f"Differences with their {comparison.confidence:.0%} interval for new seeds and new prompts or rows, before "
        "Holm's adjustment. The thin gray bar is the bootstrap interval."
    )
    return render("contrasts", caption, panels, folder)


def _contributions(comparison: Comparison, look: dict[str, Style], folder: Path | None) -> Figure | None:
    metric = comparison.primary
    found = dict(sorted(comparison.contributions.items(), key=lambda entry: -metric.sign * entry[1].result.difference))
    caption = (
        f"The filter less the filter without the signal, with {comparison.confidence:.0%} intervals for new seeds and "
        "new prompts or rows; the thin gray bar is the bootstrap interval. A signal right of 0 raises the metric, one "
        "at 0 can be left out."
    )
    panel = _forest(f"What each signal adds to {metric.label}", found, look, f"added to {metric.label}")
    return render("contributions", caption, [panel] if found else [], folder)


def _forest(
    title: str, findings: dict[str, Finding], look: dict[str, Style], unit: str, above: str | None = None
) -> Panel:
    """Return a panel with a row per difference: its interval and the bootstrap interval below it."""

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, finding in enumerate(findings.values()):
            r = finding.result
            axes.plot(finding.bootstrap, [row + 0.27] * 2, color=GREY, lw=1.4, solid_capstyle="butt")
            _interval(axes, row, r.difference, r.ci_low, r.ci_high, look[r.a])
        axes.axvline(0, color=INK, lw=0.9)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.08 * (high - low)), max(high, 0.08 * (high - low)))
        name_rows(axes, list(findings))
        axes.set_xlabel(unit)
        if above:
            heading(figure, above)

    return Panel(title, draw, 4.6, 1.05 + 0.5 * len(findings))


def _fills(
    study: CollectedStudy, prompts: dict[str, Fills], look: dict[str, Style], folder: Path | None
) -> Figure | None:
    declared = study.declaration
    pair = {f"{version}: {arm}": arm for version, arm in (("v1", declared.baseline), ("v2", declared.filter)) if arm}
    fills = {
        prompt: {title: by_arm[arm] for title, arm in pair.items()}
        for prompt, by_arm in prompts.items()
        if all(arm in by_arm for arm in pair.values())
    }
    return draw_top_fills(fills, {title: look[arm] for title, arm in pair.items() if arm in look}, folder, name="fills")


def _funnel(study: CollectedStudy, folder: Path | None) -> Figure | None:
    tested = study.declaration.filter or ""
    return draw_funnel(study.filter_summaries.get(tested, {}).get("funnel") or [], tested, folder)


def _interval(axes: Axes, row: float, mean: float, low: float, high: float, style: Style) -> None:
    axes.plot([low, high], [row, row], color=style.color, lw=2.2, solid_capstyle="butt")
    axes.plot([mean], [row], style.marker, color=style.color, ms=8, mec="white", mew=0.8)
    axes.annotate(number(mean), (mean, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=7.5)
