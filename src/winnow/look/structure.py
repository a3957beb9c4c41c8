"""A picture of a model's structure: its parts from the input up, with shapes and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.look.figures import INK, ROLES, Figure, Panel, render

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
    """Draw the parts of a model above one another, the input at the bottom; a part's width tells its parameters.

    Args:
        name: What the model is called.
        parts: From the input up; ``kind`` is ``embeddings``, ``layer`` or ``head``.
        folder: Where the files go.
        file: Name of the files.
    """
    if not parts:
        return None
    total, most = sum(part["parameters"] for part in parts), max(part["parameters"] for part in parts)

    def draw(figure: FigureBase) -> None:
        axes: Any = figure.subplots()
        for row, part in enumerate(parts):
            width = max(0.02, part["parameters"] / most)
            axes.barh(row, width, left=0.5 - width / 2, height=0.62, color=COLOURS[part["kind"]], alpha=0.28, lw=0)
            axes.barh(row, width, left=0.5 - width / 2, height=0.62, color="none", edgecolor=COLOURS[part["kind"]])
            times = f" x {part['repeats']}" if part["repeats"] > 1 else ""
            share = part["parameters"] / total
            text = f"{part['part']}{times}: {part['parameters']:,} parameters ({share:.0%})"
            axes.text(0.5, row + 0.11, text, ha="center", va="center", fontsize=8, fontweight="bold", color=INK)
            axes.text(0.5, row - 0.16, part["shapes"], ha="center", va="center", fontsize=7, color=INK)
            if row:
                axes.annotate(
                    "", (0.5, row - 0.31), (0.5, row - 0.69), arrowprops={"arrowstyle": "->", "color": INK, "lw": 0.8}
                )
        axes.set_xlim(-0.25, 1.25)
        axes.set_ylim(-0.6, len(parts) - 0.4)
        axes.set_axis_off()
        axes.set_title(f"{name}: {total:,} parameters")

    caption = f"The parts of {name}, the input below; widths show parameters. Tied weights count once."
    return render(file, caption, [Panel(caption, draw, 6.4, 0.6 + 0.62 * len(parts))], folder)
