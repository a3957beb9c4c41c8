"""Label lines next to their last points, or in a legend if the labels do not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.reporting.plot_style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

MAX_LABELS = 6
MAX_LABEL_LENGTH = 16
"""The largest number and length, in characters, of labels that fit next to the lines of a figure one column wide."""

AXES_FRACTION = 0.7
"""The approximate height of the axes as a fraction of the height of a panel."""

LINE_HEIGHT = 1.15
"""The smallest distance between two labels, in multiples of the text size."""


@dataclass(frozen=True)
class LineEnd:
    """The last point of a line, in data coordinates, with the label and the style of the line."""

    label: str
    x: float
    y: float
    style: Style


def label_lines(axes: Axes, ends: Sequence[LineEnd], axes_height: float, text_size: float = 7.0) -> None:
    """Write the labels to the right of the lines, moved apart if they overlap; otherwise, add a legend below the axes.

    The limits of the y axis must be final.

    Args:
        axes: Linear axes with one line per label. The lines have the labels of a legend.
        ends: The last point of each line.
        axes_height: The height of the axes in inches, approximately.
        text_size: The size of the text in points.
    """
    if len(ends) > MAX_LABELS or any(len(end.label) > MAX_LABEL_LENGTH for end in ends):
        handles, labels = axes.get_legend_handles_labels()
        add_legend_below(axes.figure, dict(zip(labels, handles, strict=True)), text_size)
        return
    low, high = axes.get_ylim()
    points_per_unit = 72 * axes_height / (high - low)
    ordered, x = sorted(ends, key=lambda end: end.y), max(end.x for end in ends)
    positions = spread_positions([end.y * points_per_unit for end in ordered], LINE_HEIGHT * text_size)
    for end, position in zip(ordered, positions, strict=True):
        axes.annotate(
            end.label,
            (x, end.y),
            xytext=(7, position - end.y * points_per_unit),
            textcoords="offset points",
            va="center",
            fontsize=text_size,
            color=end.style.color,
            annotation_clip=False,
        )


def label_line_ends(axes: Axes, names: Sequence[str], text_size: float, height: float) -> bool:
    """Write the name of each line next to its end. Return whether the names fit; if not, none is written.

    Args:
        axes: Axes with any scale. The scale and the limits are final.
        names: The labels of the lines to consider.
        text_size: The size of the text in points.
        height: The height of the panel in inches.
    """
    lines = [line for line in axes.get_lines() if line.get_label() in names]
    texts = [str(line.get_label()) for line in lines]
    if not lines or len(lines) > MAX_LABELS or max(map(len, texts)) > MAX_LABEL_LENGTH:
        return False
    transform = axes.transScale + axes.transLimits  # from data to fractions of the axes
    ends = [(np.asarray(line.get_xdata())[-1], np.asarray(line.get_ydata())[-1]) for line in lines]
    heights = sorted(float(transform.transform(end)[1]) for end in ends)
    distance = LINE_HEIGHT * text_size / 72 / (AXES_FRACTION * height)
    if any(upper - lower < distance for lower, upper in pairwise(heights)):
        return False
    for text, end in zip(texts, ends, strict=True):
        offset: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(text, end, fontsize=text_size, annotation_clip=False, **offset)
    return True


def add_legend_below(figure: FigureBase, handles: Mapping[str, Any], text_size: float = 7.0) -> None:
    """Add a legend below the axes, with as many columns as fit into a column of a paper.

    Args:
        figure: The figure.
        handles: The handle of each label.
        text_size: The size of the text in points.
    """
    figure.legend(
        handles.values(),
        handles,
        loc="outside lower center",
        ncols=count_legend_columns(handles),
        fontsize=text_size,
        handlelength=3.2,  # long enough to show a line style
        columnspacing=1.2,
    )


def count_legend_columns(labels: Collection[str]) -> int:
    """Return the number of columns of a legend that fit into a column of a paper, given the longest label."""
    longest = max(map(len, labels))
    return 3 if longest <= 9 else 2 if longest <= 19 else 1


def spread_positions(positions: Sequence[float], distance: float) -> list[float]:
    """Return positions that are at least a distance apart and as close to the given ascending positions as possible.

    Positions that are too close form a group, which is centered at the mean of its positions.

    >>> spread_positions([0.0, 1.0, 10.0], 3.0)
    [-1.0, 2.0, 10.0]
    """
    groups: list[list[float]] = []
    for position in positions:
        groups.append([position])
        while len(groups) > 1 and _overlaps(groups[-2], groups[-1], distance):
            last = groups.pop()
            groups[-1] += last
    return [center for group in groups for center in _place_group(group, distance)]


def _place_group(group: Sequence[float], distance: float) -> list[float]:
    start = sum(group) / len(group) - distance * (len(group) - 1) / 2
    return [start + distance * index for index in range(len(group))]


def _overlaps(lower: Sequence[float], upper: Sequence[float], distance: float) -> bool:
    return _place_group(upper, distance)[0] - _place_group(lower, distance)[-1] < distance
