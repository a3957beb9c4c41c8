"""Draw the words whose probability rose and fell most from one model or arm to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.reporting.figure_rendering import Figure, Panel, label_rows, render_figure
from winnow.reporting.plot_style import GRAY, ROLE_MARKS, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase


def compute_word_shifts(
    before: Mapping[str, float], after: Mapping[str, float], max_words: int = 10
) -> list[dict[str, Any]]:
    """Return the words whose mean probabilities rose and fell most.

    Words that are missing from either vocabulary are ignored, so models with different vocabularies can be compared.

    >>> before, after = {"a": 0.5, "b": 0.2, "c": 0.1}, {"a": 0.1, "b": 0.3, "d": 1.0}
    >>> [row["word"] for row in compute_word_shifts(before, after, max_words=1)]
    ['b', 'a']
    """
    changes = {word: after[word] - before[word] for word in before if word in after}
    ranked_words = sorted(changes, key=lambda word: (-changes[word], word))
    rising_words = [word for word in ranked_words[:max_words] if changes[word] > 0]
    falling_words = [word for word in ranked_words[-max_words:] if changes[word] < 0]
    return [
        {"word": word, "before": before[word], "after": after[word], "change": changes[word]}
        for word in [*rising_words, *falling_words]
    ]


def draw_word_shift(
    shifts: Sequence[Mapping[str, Any]],
    names: tuple[str, str],
    styles: Mapping[str, Style],
    folder: Path | None,
    roles: Mapping[str, str] | None = None,
    note: str = "",
) -> Figure | None:
    """Draw the words whose probabilities rose and fell most from one model to another.

    Args:
        shifts: Result of :func:`compute_word_shifts`.
        names: Names of the two models.
        styles: Style of each model.
        folder: Output folder, or `None` to write no files.
        roles: ``wanted`` or ``unwanted`` for each word that the probe lists. Listed words are marked.
        note: Further sentence for the caption.
    """
    if not shifts:
        return None
    roles = roles or {}
    marks = {word: f"{ROLE_MARKS[role]} {word}" for word, role in roles.items()}
    has_zero = any(min(shift["before"], shift["after"]) <= 0 for shift in shifts)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        rows = range(len(shifts))
        before, after = ([shift[key] for shift in shifts] for key in ("before", "after"))
        axes.hlines(rows, before, after, color=GRAY, lw=1, zorder=1)
        for name, points in zip(names, (before, after), strict=True):
            axes.plot(points, rows, styles[name].marker, color=styles[name].color, ms=5.5, label=name)
        boundary = sum(shift["change"] > 0 for shift in shifts)
        if 0 < boundary < len(shifts):
            axes.axhline(boundary - 0.5, color=GRAY, lw=0.8, ls=(0, (4, 3)))
        label_rows(axes, [marks.get(shift["word"], shift["word"]) for shift in shifts])
        _set_probability_axis(axes, is_log=not has_zero)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)

    caption = f"Words whose probability rose (above the dashed line) or fell most from {names[0]} to {names[1]}."
    if any(shift["word"] in roles for shift in shifts):
        caption += f" {ROLE_MARKS['wanted']} marks wanted words, {ROLE_MARKS['unwanted']} unwanted words."
    panel = Panel(_state_largest_shifts(shifts, names), draw, 5.4, 0.9 + 0.21 * len(shifts))
    return render_figure("word_shift", f"{caption} {note}".strip(), [panel], folder)


def _set_probability_axis(axes: Axes, is_log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    if is_log:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"mean probability over prompts{' (log scale)' if is_log else ''}")


def _state_largest_shifts(shifts: Sequence[Mapping[str, Any]], names: tuple[str, str]) -> str:
    """Return the largest rise and the largest fall as the title of the panel."""
    extremes = {"rose": max(shifts, key=lambda s: s["change"]), "fell": min(shifts, key=lambda s: s["change"])}
    phrases = [
        f"{shift['word']} {verb} most, from {shift['before']:.2%} to {shift['after']:.2%}"
        for verb, shift in extremes.items()
        if (shift["change"] > 0) == (verb == "rose")
    ]
    return f"Change in word probabilities from {names[0]} to {names[1]}: {'; '.join(phrases)}"
