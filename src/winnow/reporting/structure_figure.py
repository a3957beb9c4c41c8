"""A picture of a model's structure: its parts from the input up, with shapes and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.reporting.figures import INK, ROLES, Figure, Panel, render

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Part = Mapping[str, Any]
"""``part``, ``kind``, ``repeats``, ``parameters`` (of all repeats) and ``shapes`` in words."""

COLOURS = {
    "embeddings": ROLES["baseline"].colour,
    "layer": ROLES["filter"].colour,
    "head": ROLES["control"].colour,
}


def draw_structure(name: str, parts: Sequence[Part], folder: Path, file: str = "structure") -> Figure | None:
    """Draw the parts of a model above one another, the input at the bottom, each with its share of the parameters.

    Args:
        name: What the model is called.
        parts: From the input up; ``kind`` is ``embeddings``, ``layer`` or ``head``.
        folder: Where the files go.
        file: Name of the files.
    """
    if not parts:
        return None
    total = sum(part["parameters"] for part in parts)

    def draw(figure: FigureBase) -> None:
        axes: Any = figure.subplots()
        for row, part in enumerate(parts):
            share, colour = part["parameters"] / total, COLOURS[part["kind"]]
            axes.barh(row, share, height=0.66, align="center", color=colour, alpha=0.28, lw=0)
            axes.barh(row, 1, height=0.66, color="none", edgecolor=colour)
            times = f" x {part['repeats']}" if part["repeats"] > 1 else ""
            text = f"{part['part']}{times}: {part['parameters']:,} parameters ({share:.0%})"
            axes.text(0.5, row + 0.12, text, ha="center", va="center", fontsize=8.5, fontweight="bold", color=INK)
            axes.text(0.5, row - 0.16, part["shapes"], ha="center", va="center", fontsize=7.5, color=INK)
            if row:
                arrow = {"arrowstyle": "->", "color": INK, "lw": 0.9}
                axes.annotate("", (0.5, row - 0.33), (0.5, row - 0.67), arrowprops=arrow)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.5, len(parts) - 0.5)
        axes.set_axis_off()
        axes.set_title(f"{name}: {total:,} parameters")

    caption = f"The parts of {name}, the input below; the coloured part of a box is its share of the parameters."
    return render(file, caption, [Panel(caption, draw, 5.4, 0.5 + 0.72 * len(parts))], folder)
