"""Save the panels of figures for a paper: one column wide, with small text, in color and in grayscale."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.reporting.figure_rendering import Figure, Panel, save_panel

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

COLUMN_WIDTH = 3.3
"""The width of a column in inches (8.4 cm)."""

MIN_TEXT_SIZE, MAX_TEXT_SIZE = 7.0, 8.0
"""The range of text sizes in points."""

PRINT_DPI = 300


def save_print_figures(figures: Iterable[Figure], folder: Path) -> list[Path]:
    """Save every panel as ``NAME.svg`` and ``NAME.png``, and the same in grayscale as ``NAME_gray.*``.

    The names of the panels of a figure with several panels end with their numbers.

    Args:
        figures: The figures.
        folder: Output folder, created if missing.

    Returns:
        The paths of all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for figure in figures:
        for number, panel in enumerate(figure.panels, 1):
            name = figure.name if len(figure.panels) == 1 else f"{figure.name}_{number}"
            files += save_panel(_fit_to_column(panel), folder, name, PRINT_DPI)
            files += [_save_gray_svg(folder, name), _save_gray_png(folder, name)]
    return files


def _fit_to_column(panel: Panel) -> Panel:
    """Return a panel of the width of a column whose text sizes are within the range."""

    def draw(figure: FigureBase) -> None:
        from matplotlib.text import Text

        panel.draw(figure)
        for text in figure.findobj(Text):
            text.set_fontsize(min(max(text.get_fontsize(), MIN_TEXT_SIZE), MAX_TEXT_SIZE))

    return dataclasses.replace(panel, draw=draw, width=COLUMN_WIDTH)


def _save_gray_svg(folder: Path, name: str) -> Path:
    file = folder / f"{name}_gray.svg"
    svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
    file.write_text(re.sub(r"#[0-9a-fA-F]{6}\b", lambda match: convert_to_gray(match[0]), svg), encoding="utf-8")
    return file


def convert_to_gray(color: str) -> str:
    """Return the gray with the luma of a color (ITU-R BT.601), as Pillow computes it.

    >>> convert_to_gray("#d55e00")
    '#777777'
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    luma = round(0.299 * red + 0.587 * green + 0.114 * blue)
    return f"#{luma:02x}" + f"{luma:02x}" * 2


def _save_gray_png(folder: Path, name: str) -> Path:
    from PIL import Image

    file = folder / f"{name}_gray.png"
    with Image.open(folder / f"{name}.png") as image:
        image.convert("L").save(file, dpi=(PRINT_DPI, PRINT_DPI))
    return file
