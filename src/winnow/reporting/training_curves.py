"""Draw curves over training steps: the mean of each arm over its seeds, and the range of the seeds as a band."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.comparison.collected_study import CollectedStudy
from winnow.formatting import format_number, join_names
from winnow.metrics.metric_names import TRAIN_LOSS, VALIDATION_LOSS, held_out_metric_name, stage_metric_name
from winnow.reporting.figure_rendering import Figure, Panel, render_figure
from winnow.reporting.line_labels import add_legend_below, count_legend_columns, label_line_ends
from winnow.reporting.plot_style import GRAY, OTHER_STYLE, Style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

Styles = Mapping[str, Style]
"""Style of each arm. Arms without a style are not drawn."""

PANEL_SIZE = (4.2, 2.8)
"""Width and height of a panel in inches."""

MAX_CURVE_POINTS = 120
"""Maximum number of points per curve. Longer histories are averaged over equal-width ranges of steps."""

MAX_ARMS_IN_LEGEND = 4
"""Maximum number of arms whose legend is inside the axes."""

OTHER_ARMS = "other arms"
"""The label of the arms that are not highlighted."""

SCALE_UNITS = {"loss": "nats per masked token", "perplexity": "perplexity (log scale)"}

PROBABILITY = "probability"
"""Unit of the word probabilities, which are shown in percent."""

PHASE_LABELS = {TRAIN_LOSS: "training", VALIDATION_LOSS: "validation"}


def draw_study_losses(study: CollectedStudy, styles: Styles, folder: Path | None) -> Figure | None:
    """Draw training and validation loss and perplexity of all arms on shared axes."""
    losses = _add_base_model(study)
    panels = []
    for scale, table in _iterate_scales(losses):
        validation = table.loc[table["metric"] == VALIDATION_LOSS, "value"]
        high = max(float(np.quantile(table["value"], 0.999)), float(validation.max()) if len(validation) else -math.inf)
        limits = float(table["value"].min()), high
        for metric, phase in PHASE_LABELS.items():
            values = table[table["metric"] == metric]
            panels += build_step_panels(
                f"{phase.capitalize()} {scale}", values, styles, scale == "perplexity", limits, SCALE_UNITS[scale]
            )
    seed_counts = {arm: losses.loc[losses["arm"] == arm, "seed"].nunique() for arm in study.arms}
    seed_notes = [
        f"the first {count} of {len(study.get_cells(arm))} of {arm}"
        for arm, count in seed_counts.items()
        if count < len(study.get_cells(arm))
    ]
    seeds = f"seeds ({', '.join(seed_notes)})" if seed_notes else "seeds"
    caption = (
        f"Mean over {seeds}. The band shows the minimum and maximum over seeds. All arms share the axes. Validation "
        "starts with the base model at step 0."
    )
    return render_figure("curves", caption, panels, folder)


def _add_base_model(study: CollectedStudy) -> pd.DataFrame:
    """Return the loss curves with the validation loss of the base model at step 0, which is logged as a score."""
    import pandas as pd

    losses, name = study.loss_curves, stage_metric_name("before", held_out_metric_name("validation", "all", "loss"))
    curves = set(losses.loc[losses["metric"] == VALIDATION_LOSS, ["arm", "seed"]].itertuples(index=False, name=None))
    base = [
        {"arm": cell.arm, "seed": cell.seed, "metric": VALIDATION_LOSS, "step": 0, "value": cell.metrics[name]}
        for cell in study.cells
        if (cell.arm, cell.seed) in curves and name in cell.metrics
    ]
    return pd.concat([pd.DataFrame(base), losses], ignore_index=True) if base else losses


def draw_losses(losses: pd.DataFrame, styles: Styles, folder: Path | None) -> Figure | None:
    """Draw training and validation loss of individual models in one panel and perplexity in another.

    Args:
        losses: ``arm``, ``seed``, ``metric`` (``train/loss`` or ``validation/loss``), ``step`` and ``value`` in nats.
        styles: Style of each model.
        folder: Output folder, or `None` to write no files.
    """
    labeled_losses = losses.assign(arm=losses["arm"].astype(str) + ", " + losses["metric"].map(PHASE_LABELS))
    line_styles: dict[str, Style] = {}
    for arm, style in styles.items():
        line_styles |= {f"{arm}, training": replace(style, marker="", alpha=0.45), f"{arm}, validation": style}
    panels = [
        panel
        for scale, table in _iterate_scales(labeled_losses)
        for panel in build_step_panels(scale, table, line_styles, log=scale == "perplexity", unit=SCALE_UNITS[scale])
    ]
    caption = "Loss and perplexity of all models over training steps. Strong lines: validation; faint lines: training."
    return render_figure("losses", caption, panels, folder)


def draw_study_probes(study: CollectedStudy, styles: Styles, folder: Path | None) -> Figure | None:
    """Draw the log odds of each probe during training and the tracked words whose probabilities changed most."""
    curves = study.probe_curves
    if curves.empty:
        return None
    caption = (
        "Probe scores at each validation run, starting with the base model at step 0. Lines are means over seeds; "
        "bands show the minimum and maximum over seeds."
    )
    panels = [*_build_score_panels(curves, "log_odds", styles), *_build_word_panels(curves, styles, max_words=2)]
    return render_figure("probe_curves", caption, panels, folder)


def draw_scores_over_steps(
    curves: pd.DataFrame, styles: Styles, folder: Path | None, metric: str = "log_odds"
) -> Figure | None:
    """Draw a score of each probe over training steps. The figure is named ``METRIC_over_steps``.

    Args:
        curves: ``arm``, ``seed``, ``step``, ``probe``, ``metric`` and ``value``.
        styles: Style of each arm.
        folder: Output folder, or `None` to write no files.
        metric: Name of the score, such as ``log_odds``.
    """
    name = metric.replace("_", " ").capitalize()
    caption = (
        f"{name} of each probe's validation prompts, starting with the base model at step 0. Bands show the minimum "
        "and maximum over seeds."
    )
    return render_figure(f"{metric}_over_steps", caption, _build_score_panels(curves, metric, styles), folder)


def draw_tracked_words(
    curves: pd.DataFrame, probe: str, styles: Styles, folder: Path | None, words: Sequence[str] = ()
) -> Figure | None:
    """Draw the probability of words during training, wanted words first and unwanted words second.

    Args:
        curves: ``arm``, ``seed``, ``step``, ``probe``, ``metric`` (``probability``), ``value``, ``role`` and ``word``.
        probe: Probe whose prompts are used.
        styles: Style of each arm.
        folder: Output folder, or `None` to write no files.
        words: Words to draw. If empty, the four words of each role whose probabilities changed most.
    """
    panels = _build_word_panels(curves[curves["probe"] == probe], styles, 4, words, (3.3, 2.4))
    caption = (
        f"Mean probability of words over the validation prompts of {probe} and over seeds, starting with the base "
        "model at step 0."
    )
    return render_figure("followed_words", caption, panels, folder, columns=4)


def _iterate_scales(losses: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    if not losses.empty:
        yield "loss", losses
        yield "perplexity", losses.assign(value=np.exp(losses["value"]))


def _build_score_panels(curves: pd.DataFrame, metric: str, styles: Styles) -> list[Panel]:
    scores = curves[(curves["metric"] == metric) & curves["arm"].isin(list(styles))]
    name, unit = metric.replace("_", " "), "nats" if metric == "log_odds" else ""
    by_probe = scores.groupby("probe", sort=False, observed=True)
    return [
        panel
        for probe, values in by_probe
        for panel in build_step_panels(f"{name}, {probe}", values, styles, unit=unit, zero=True)
    ]


def _build_word_panels(
    curves: pd.DataFrame,
    styles: Styles,
    max_words: int,
    words: Sequence[str] = (),
    size: tuple[float, float] = PANEL_SIZE,
) -> list[Panel]:
    """Return one panel per word: the given words, or the words of each role that changed most in any arm."""
    if "role" not in curves:
        return []
    probabilities = curves[(curves["metric"] == "probability") & curves["arm"].isin(list(styles))]
    panels: list[Panel] = []
    for role in ("wanted", "unwanted"):
        role_rows = probabilities[probabilities["role"] == role]
        keys = ["probe", "word"]
        means = role_rows.groupby([*keys, "arm", "step"], observed=True)["value"].mean()
        changes = np.log(means).groupby(level=[*keys, "arm"], observed=True).agg(np.ptp)
        largest_changes = (
            changes.groupby(level=keys, observed=True).max().nlargest(len(changes) if words else max_words)
        )
        for probe, word in largest_changes.index:
            if not words or word in words:
                values = role_rows[(role_rows["probe"] == probe) & (role_rows["word"] == word)]
                title = f"{word} ({role}), {probe}"
                panels += build_step_panels(title, values, styles, log=True, unit=PROBABILITY, size=size)
    return panels


def build_step_panels(
    title: str,
    table: pd.DataFrame,
    styles: Styles,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    unit: str = "",
    zero: bool = False,
    size: tuple[float, float] = PANEL_SIZE,
) -> list[Panel]:
    """Return one panel with a curve per arm, or an empty list if there are fewer than two steps.

    Args:
        title: Title of the panel.
        table: ``arm``, ``seed``, ``step`` and ``value``.
        styles: Style of each arm.
        log: Whether to use a logarithmic y axis.
        limits: Lowest and highest value of the y axis. By default, the range of the table's values.
        unit: Label of the y axis.
        zero: Whether to draw a line at 0.
        size: Width and height in inches.
    """
    if table["step"].nunique() < 2:
        return []
    low, high = limits or (float(table["value"].min()), float(table["value"].max()))
    labels = [arm for arm, style in styles.items() if style != OTHER_STYLE]
    is_crowded = len(labels) > MAX_ARMS_IN_LEGEND
    legend_rows = math.ceil(len(labels) / count_legend_columns(labels)) if is_crowded else 0

    def draw(figure: FigureBase) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        # Arms that are not highlighted are drawn first, behind the others.
        for arm in sorted(styles, key=lambda name: name in labels):
            _draw_curve(axes, arm, table[table["arm"] == arm], styles[arm], is_crowded)
        if zero:
            axes.axhline(0, color=GRAY, lw=0.8)
        _set_y_axis(axes, low, high, log, in_percent=unit == PROBABILITY)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.set_title(title)
        _label_arms(figure, axes, styles, size, is_crowded)

    last = table[table["step"] == table["step"].max()].groupby("arm", observed=True)["value"].mean()
    means = [f"{arm} {format_number(float(last[arm]))}" for arm in styles if arm in last.index]
    return [Panel(f"{title} over steps, at the end: {join_names(means)}", draw, size[0], size[1] + 0.16 * legend_rows)]


def _draw_curve(axes: Axes, arm: str, history: pd.DataFrame, style: Style, is_crowded: bool) -> None:
    """Draw the mean and the range of the seeds of one arm. The range of an arm that is not highlighted is not drawn."""
    seeds = _pivot_by_seed(history)
    if seeds.empty:
        return
    steps, marker_interval, is_other = seeds.index.to_numpy(), max(1, len(seeds) // 6), style == OTHER_STYLE
    if seeds.shape[1] > 1 and not is_other:
        opacity = 0.08 if is_crowded else 0.16
        axes.fill_between(steps, seeds.min(axis=1), seeds.max(axis=1), color=style.color, alpha=opacity, lw=0)
    axes.plot(
        steps,
        seeds.mean(axis=1),
        color=style.color,
        ls=style.line,
        lw=1.1 if is_crowded else None,
        marker=style.marker,
        ms=4,
        markevery=marker_interval,
        alpha=style.alpha,
        label=OTHER_ARMS if is_other else arm,
    )


def _label_arms(figure: FigureBase, axes: Axes, styles: Styles, size: tuple[float, float], is_crowded: bool) -> None:
    """Label the lines at their ends if that fits; otherwise, add a legend, below the axes if there are many arms.

    The arms that are not highlighted share the last entry of the legend.
    """
    font_size = 8 if size >= PANEL_SIZE and len(styles) < 4 else 6.5
    if not is_crowded and label_line_ends(axes, list(styles), font_size, size[1]):
        return
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if other := handles.pop(OTHER_ARMS, None):
        other_arms = sum(style == OTHER_STYLE for style in styles.values())
        handles[f"{OTHER_ARMS} ({other_arms})"] = other
    if is_crowded:
        add_legend_below(figure, handles)
    else:
        axes.legend(handles.values(), handles, fontsize=font_size)


def _pivot_by_seed(history: pd.DataFrame) -> pd.DataFrame:
    """Return a table of shape (steps, seeds), averaged over ranges of steps if the history is long."""
    width = math.ceil(history["step"].max() / MAX_CURVE_POINTS) if history["step"].nunique() > MAX_CURVE_POINTS else 1
    range_centers = history["step"] if width == 1 else (history["step"] // width) * width + width // 2
    return history.assign(step=range_centers).pivot_table(index="step", columns="seed", values="value", aggfunc="mean")


def _set_y_axis(axes: Axes, low: float, high: float, log: bool, in_percent: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if not log:
        padding = 0.04 * (high - low) or 0.1
        axes.set_ylim(low - padding, high + padding)
        return
    axes.set_yscale("log")
    axes.set_ylim(low * 0.97, high * 1.03)
    # A logarithmic locator would place at most one tick within one decade.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%" if in_percent else f"{value:g}"))
