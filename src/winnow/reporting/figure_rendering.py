"""Build figures from panels, as SVG and PNG files and as inline SVG."""

from __future__ import annotations

import functools
import html
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.reporting.plot_style import (
    BACKGROUND_COLOR,
    EXTRA_STYLES,
    GRAY,
    MATPLOTLIB_SETTINGS,
    ROLE_STYLES,
    TEXT_COLOR,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

PNG_DPI = 160
POINTS_PER_INCH = 72

Position = tuple[float, float]
"""A horizontal and a vertical distance in inches."""


@dataclass(frozen=True)
class Panel:
    """A panel of a figure: its title, drawing function and size in inches."""

    title: str
    draw: Callable[[FigureBase], None]
    width: float = 4.2
    height: float = 2.8


@dataclass(frozen=True)
class Figure:
    """A figure: its name, caption, panels and files, and the SVG of each panel if it has already been drawn."""

    name: str
    caption: str
    panels: Sequence[Panel]
    files: list[Path]
    svgs: Sequence[str] = ()

    @functools.cached_property
    def inline_svgs(self) -> list[str]:
        """One SVG string per panel, drawn on first access. The SVG uses the colors of the surrounding page."""
        svgs = self.svgs or [_draw_panel(panel, f"{self.name}-{i}").svg for i, panel in enumerate(self.panels)]
        return [_use_page_colors(svg, panel) for svg, panel in zip(svgs, self.panels, strict=True)]

    def _repr_html_(self) -> str:
        """Return the HTML that notebooks display: the panels side by side and the caption."""
        panels = "".join(f'<div style="flex:1 1 20rem;max-width:34rem">{svg}</div>' for svg in self.inline_svgs)
        variables = f"--sans:'DejaVu Sans',sans-serif;--soft:{GRAY}"
        caption = f"<p><small>{html.escape(self.caption)}</small></p>"
        return f'<div style="display:flex;flex-wrap:wrap;gap:1rem;{variables}">{panels}</div>{caption}'


def render_figure(
    name: str, caption: str, panels: Sequence[Panel], folder: Path | None = None, columns: int = 2
) -> Figure | None:
    """Build a figure from panels. If a folder is given, also save it as ``NAME.svg`` and ``NAME.png``.

    Returns:
        The figure, or `None` if there are no panels.
    """
    if not panels:
        return None
    if folder is None:
        return Figure(name, caption, panels, [])
    folder.mkdir(parents=True, exist_ok=True)
    drawings = [_draw_panel(panel, f"{name}-{i}", with_pixels=True) for i, panel in enumerate(panels)]
    files = [folder / f"{name}.{ending}" for ending in ("svg", "png")]
    size, positions = _arrange_panels(panels, columns)
    files[0].write_text(_join_svgs(drawings, size, positions), encoding="utf-8")
    _save_pixels(files[1], drawings, size, positions)
    return Figure(name, caption, panels, files, [drawing.svg for drawing in drawings])


def save_panel(panel: Panel, folder: Path, name: str, dpi: int) -> list[Path]:
    """Save a single panel as ``NAME.svg`` and ``NAME.png`` and return the paths."""
    drawing = _draw_panel(panel, name, with_pixels=True, dpi=dpi)
    size, files = (panel.width, panel.height), [folder / f"{name}.{ending}" for ending in ("svg", "png")]
    files[0].write_text(_join_svgs([drawing], size, [(0, 0)]), encoding="utf-8")
    _save_pixels(files[1], [drawing], size, [(0, 0)], dpi)
    return files


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the rows of a chart from top to bottom."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def set_heading(figure: FigureBase, text: str, width: int = 42, lines: int = 1) -> None:
    """Set the heading of a panel, padded to a number of lines so that neighboring panels align."""
    wrapped_lines = textwrap.wrap(text, width)
    padded_lines = wrapped_lines + [" "] * (lines - len(wrapped_lines))
    figure.suptitle("\n".join(padded_lines), fontsize=9.5, fontweight="bold", x=0.01, ha="left")


@dataclass(frozen=True)
class _Drawing:
    """A drawn panel: its SVG and, if requested, its pixels of shape (height, width, 4)."""

    svg: str
    pixels: Any = None


def _draw_panel(panel: Panel, salt: str, with_pixels: bool = False, dpi: int = PNG_DPI) -> _Drawing:
    """Draw a panel. The layout is the slowest step, so it is computed once for both the SVG and the pixels."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    settings: Any = MATPLOTLIB_SETTINGS | {"svg.hashsalt": salt}
    with mpl.rc_context(settings):
        canvas: Any = Canvas(figsize=(panel.width, panel.height), layout="constrained")
        panel.draw(canvas)
        _fix_empty_labels(canvas)
        canvas.get_layout_engine().execute(canvas)
        canvas.set_layout_engine(None)  # any other engine would draw the figure twice per file
        text = StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg = _remove_unused_markup(text.getvalue())
        return _Drawing(svg, _draw_pixels(canvas, dpi) if with_pixels else None)


def _fix_empty_labels(canvas: Any) -> None:
    """Set the position of axis labels without text.

    Otherwise, matplotlib measures all tick labels of the axis several times to find a position for the empty label.
    """
    for axes in canvas.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0, 0)


def _draw_pixels(canvas: Any, dpi: int) -> Any:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas.set_dpi(dpi)
    canvas.set_facecolor(BACKGROUND_COLOR)
    renderer: Any = FigureCanvasAgg(canvas)
    renderer.draw()
    return np.array(renderer.buffer_rgba())


def _remove_unused_markup(svg: str) -> str:
    """Return an SVG element without the XML header, the metadata and unreferenced ids."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    used_ids = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    return re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used_ids else "", svg)


def _arrange_panels(panels: Sequence[Panel], columns: int) -> tuple[Position, list[Position]]:
    """Return the size of a figure and the top left corner of each panel, as (horizontal, vertical) inches."""
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(len(rows[0]))]
    heights = [max(panel.height for panel in row) for row in rows]
    corners = [(sum(widths[: i % columns]), sum(heights[: i // columns])) for i in range(len(panels))]
    return (sum(widths), sum(heights)), corners


def _join_svgs(drawings: Sequence[_Drawing], size: Position, corners: Sequence[Position]) -> str:
    """Return the text of an SVG file that shows the panels at their positions on the background color."""
    width, height = (POINTS_PER_INCH * inches for inches in size)
    lines = [
        '<?xml version="1.0" encoding="utf-8" standalone="no"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="{width:g}pt" height="{height:g}pt" '
        f'viewBox="0 0 {width:g} {height:g}">',
        f'<rect width="100%" height="100%" fill="{BACKGROUND_COLOR}"/>',
    ]
    for drawing, corner in zip(drawings, corners, strict=True):
        x, y = (POINTS_PER_INCH * inches for inches in corner)
        panel = re.sub(r'(<svg [^>]*?)(width|height)="([\d.]+)pt"', r'\1\2="\3"', drawing.svg, count=1)
        panel = re.sub(r'(<svg [^>]*?)(width|height)="([\d.]+)pt"', r'\1\2="\3"', panel, count=1)
        lines.append(panel.replace("<svg ", f'<svg x="{x:g}" y="{y:g}" ', 1))
    return "\n".join([*lines, "</svg>", ""])


def _save_pixels(
    file: Path, drawings: Sequence[_Drawing], size: Position, corners: Sequence[Position], dpi: int = PNG_DPI
) -> None:
    """Save a PNG file that shows the panels at their positions on the background color."""
    from PIL import Image

    width, height = (round(dpi * inches) for inches in size)
    image = Image.new("RGB", (width, height), BACKGROUND_COLOR)
    for drawing, corner in zip(drawings, corners, strict=True):
        x, y = (round(dpi * inches) for inches in corner)
        image.paste(Image.fromarray(drawing.pixels).convert("RGB"), (x, y))
    image.save(file, dpi=(dpi, dpi), compress_level=3)  # higher levels take three times as long


def _use_page_colors(svg: str, panel: Panel) -> str:
    """Return the SVG of a panel with its text and arm colors replaced by CSS variables of the page."""
    svg = svg.replace("'DejaVu Sans'", "var(--sans)").replace(TEXT_COLOR, "currentColor").replace(GRAY, "var(--soft)")
    for style in (*ROLE_STYLES.values(), *EXTRA_STYLES):
        variable = f"var(--c{style.color[1:].lower()}, {style.color})"
        svg = re.sub(style.color, variable, svg, flags=re.I)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = html.escape(panel.title, quote=True)
    width = round(panel.width * 120)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" style="max-width:{width}px" ', 1).strip()
