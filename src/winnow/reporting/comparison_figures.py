"""Draw the figures of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.comparison.analysis import Comparison
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.findings import Finding
from winnow.comparison.prompt_predictions import (
    Fills,
    collect_fills,
    collect_word_roles,
    compute_word_probabilities,
    select_example_prompts,
)
from winnow.formatting import format_confidence, format_interval, format_number, join_names
from winnow.reporting.bar_charts import draw_funnel, draw_top_fills
from winnow.reporting.dose_figure import draw_dose_responses
from winnow.reporting.expected_best_figure import draw_expected_best
from winnow.reporting.factor_figure import draw_factor_effects
from winnow.reporting.figure_rendering import Figure, Panel, label_rows, render_figure, set_heading
from winnow.reporting.ladder_figure import draw_ladder
from winnow.reporting.plot_style import GRAY, TEXT_COLOR, Style, assign_styles
from winnow.reporting.probability_shifts import compute_word_shifts, draw_word_shift
from winnow.reporting.training_curves import draw_study_losses, draw_study_probes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase


def draw_comparison_figures(
    comparison: Comparison,
    study: CollectedStudy,
    folder: Path | None = None,
    fills: dict[str, dict[str, Fills]] | None = None,
) -> dict[str, Figure]:
    """Draw all figures for which the study has data and return them by name.

    The names are ``seeds``, ``contrasts``, ``contributions``, ``factors``, ``expected_best``, ``doses``, ``ladder``,
    ``curves``, ``probe_curves``, ``word_shift``, ``fills`` and ``funnel``.

    Args:
        comparison: The comparison.
        study: The study that was compared.
        folder: Output folder. If `None`, no files are written.
        fills: Predicted words by probe and prompt. If `None`, they are loaded from the study.
    """
    fills = collect_fills(study) if fills is None else fills
    styles = style_arms(comparison)
    figures = [
        _draw_seeds(comparison, styles, folder),
        _draw_contrasts(comparison, styles, folder),
        _draw_contributions(comparison, styles, folder),
        draw_factor_effects(comparison, styles, folder),
        draw_expected_best(comparison, styles, folder),
        draw_dose_responses(comparison, folder),
        draw_ladder(comparison, styles, folder),
        draw_study_losses(study, styles, folder),
        draw_study_probes(study, styles, folder),
        _draw_word_shift(comparison, study, styles, folder),
        _draw_fills(study, select_example_prompts(fills), styles, folder),
        _draw_filter_funnel(study, folder),
    ]
    return {figure.name: figure for figure in figures if figure}


def style_arms(comparison: Comparison) -> dict[str, Style]:
    """Return the style of each arm. If there are more arms than styles, the best filters have a style."""
    roles = {name: arm.role for name, arm in comparison.arms.items()}
    return assign_styles(roles, comparison.filters_by_rank)


def _draw_seeds(comparison: Comparison, styles: dict[str, Style], folder: Path | None) -> Figure | None:
    arms = {name: arm for name, arm in comparison.arms.items() if arm.n}

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, (name, arm) in enumerate(arms.items()):
            style = styles[name]
            axes.plot(arm.values, [row - 0.26] * arm.n, style.marker, color=style.color, alpha=0.55, ms=5, mew=0)
            _draw_interval(axes, row + 0.16, arm.mean, arm.ci_low, arm.ci_high, style)
        if comparison.base:
            axes.axvline(comparison.base.mean, color=GRAY, lw=1.1, ls=(0, (4, 3)))
            transform = axes.get_xaxis_transform()
            axes.text(comparison.base.mean, 1, " base model", va="top", color=GRAY, fontsize=8, transform=transform)
        label_rows(axes, list(arms))
        axes.set_xlabel(comparison.primary.axis_label)

    caption = (
        f"Each small marker is one seed. The large marker is the mean of the arm, and the bar is its "
        f"{format_confidence(comparison.confidence)} interval over seeds."
        + (" The dashed line is the base model before training." if comparison.base else "")
    )
    means = [f"{name} {format_number(arm.mean)}" for name, arm in arms.items()]
    title = f"Mean {comparison.primary.label} over seeds: {join_names(means)}"
    panel = Panel(title, draw, 4.6, 0.9 + 0.62 * len(arms))
    return render_figure("seeds", caption, [panel] if arms else [], folder)


def _draw_contrasts(comparison: Comparison, styles: dict[str, Style], folder: Path | None) -> Figure | None:
    by_metric: dict[str, dict[str, Finding]] = {}
    for finding in comparison.findings:
        if finding.family != "descriptive":
            result = finding.result
            by_metric.setdefault(finding.metric, {})[f"{result.a}\nminus {result.b}"] = finding
    panels = []
    for name, findings in by_metric.items():
        metric = comparison.metric(name)
        notes = [metric.unit, f"{metric.direction} is better" if metric.direction else ""]
        axis = f"difference ({', '.join(filter(None, notes))})" if any(notes) else "difference"
        panels.append(_build_forest_panel(f"Contrasts in {metric.label}", findings, styles, axis, metric.label))
    caption = (
        f"Differences with {format_confidence(comparison.confidence)} intervals that account for variation over seeds "
        "and over prompts or rows, not corrected for multiple comparisons. The thin gray bar is the bootstrap interval."
    )
    return render_figure("contrasts", caption, panels, folder)


def _draw_contributions(comparison: Comparison, styles: dict[str, Style], folder: Path | None) -> Figure | None:
    metric = comparison.primary
    findings = dict(
        sorted(comparison.contributions.items(), key=lambda entry: -metric.sign * entry[1].result.difference)
    )
    caption = (
        "The full filter minus the filter without the signal, with "
        f"{format_confidence(comparison.confidence)} intervals that account for variation over seeds and over prompts "
        "or rows. The thin gray bar is the bootstrap interval. A signal to "
        "the right of 0 raises the metric; a signal at 0 contributes nothing."
    )
    panel = _build_forest_panel(
        f"What each signal adds to {metric.label}", findings, styles, f"change in {metric.label}"
    )
    return render_figure("contributions", caption, [panel] if findings else [], folder)


def _build_forest_panel(
    title: str, findings: dict[str, Finding], styles: dict[str, Style], unit: str, title_above: str | None = None
) -> Panel:
    """Return a forest plot with one row per difference, which shows the interval above the bootstrap interval."""

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, finding in enumerate(findings.values()):
            result = finding.result
            axes.plot(finding.bootstrap, [row + 0.27] * 2, color=GRAY, lw=1.4, solid_capstyle="butt")
            _draw_interval(axes, row, result.difference, result.ci_low, result.ci_high, styles[result.a])
        axes.axvline(0, color=TEXT_COLOR, lw=0.9)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.08 * (high - low)), max(high, 0.08 * (high - low)))
        label_rows(axes, list(findings))
        axes.set_xlabel(unit)
        if title_above:
            set_heading(figure, title_above)

    results = [
        f"{label.replace(chr(10), ' ')} {format_number(finding.result.difference)} "
        f"({format_interval(finding.result.ci_low, finding.result.ci_high)})"
        for label, finding in findings.items()
    ]
    return Panel(f"{title}: {'; '.join(results)}", draw, 4.6, 1.05 + 0.5 * len(findings))


def _draw_word_shift(
    comparison: Comparison, study: CollectedStudy, styles: dict[str, Style], folder: Path | None
) -> Figure | None:
    """Draw the words whose mean probability changed most from the baseline to the filter."""
    names = study.declaration.baseline, study.declaration.filter or ""
    probe = comparison.primary.parsed_name.scope
    probabilities = compute_word_probabilities(study, probe)
    if not all(name in probabilities and name in styles for name in names):
        return None
    words = dict.fromkeys(word for name in names for word in probabilities[name])
    before, after = ({word: probabilities[name].get(word, 0.0) for word in words} for name in names)
    note = f"Means over the test prompts of {probe} and over seeds; a word that was not recorded counts as 0."
    roles = collect_word_roles(study).get(probe, {})
    return draw_word_shift(compute_word_shifts(before, after), names, styles, folder, roles, note)


def _draw_fills(
    study: CollectedStudy, prompts: dict[str, Fills], styles: dict[str, Style], folder: Path | None
) -> Figure | None:
    declaration = study.declaration
    compared_arms = {
        f"{version}: {arm}": arm for version, arm in (("v1", declaration.baseline), ("v2", declaration.filter)) if arm
    }
    fills = {
        prompt: {title: by_arm[arm] for title, arm in compared_arms.items()}
        for prompt, by_arm in prompts.items()
        if all(arm in by_arm for arm in compared_arms.values())
    }
    return draw_top_fills(
        fills, {title: styles[arm] for title, arm in compared_arms.items() if arm in styles}, folder, name="fills"
    )


def _draw_filter_funnel(study: CollectedStudy, folder: Path | None) -> Figure | None:
    filter_name = study.declaration.filter or ""
    return draw_funnel(study.filter_summaries.get(filter_name, {}).get("funnel") or [], filter_name, folder)


def _draw_interval(axes: Axes, row: float, mean: float, low: float, high: float, style: Style) -> None:
    axes.plot([low, high], [row, row], color=style.color, lw=2.2, solid_capstyle="butt")
    axes.plot([mean], [row], style.marker, color=style.color, ms=8, mec="white", mew=0.8)
    axes.annotate(
        format_number(mean), (mean, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=7.5
    )
