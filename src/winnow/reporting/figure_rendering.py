"""Build figures from panels, as SVG and PNG files and as inline SVG."""

from __future__ import annotations

import functools
import html
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@dataclass(frozen=True)
class Panel:
    """A panel of a figure: its title, drawing function and size in inches."""

    title: str
    draw: Callable[[FigureBase], None]
    width: float = 4.2
    height: float = 2.8


@dataclass(frozen=True)
class Figure:
    """A figure: its name, caption and panels, and the files to which it was saved."""

    name: str
    caption: str
    panels: Sequence[Panel]
    files: list[Path]

    @functools.cached_property
    def inline_svgs(self) -> list[str]:
        """One SVG string per panel, drawn on first access. The SVG uses the colors of the surrounding page."""
        return [_render_inline(panel, f"{self.name}-{i}") for i, panel in enumerate(self.panels)]

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
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(len(rows[0]))]
    heights = [max(panel.height for panel in row) for row in rows]

    def draw(canvas: FigureBase) -> None:
        grid = canvas.subfigures(len(rows), len(widths), squeeze=False, width_ratios=widths, height_ratios=heights)
        for i, panel in enumerate(panels):
            panel.draw(grid[i // columns][i % columns])

    files = [folder / f"{name}.{ending}" for ending in ("svg", "png")]
    with _draw_canvas(name, draw, sum(widths), sum(heights)) as canvas:
        canvas.savefig(files[0], facecolor=BACKGROUND_COLOR, metadata={"Date": None, "Creator": None})
        canvas.savefig(files[1], facecolor=BACKGROUND_COLOR, dpi=160)
    return Figure(name, caption, panels, files)


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


@contextmanager
def _draw_canvas(salt: str, draw: Callable[[FigureBase], None], width: float, height: float) -> Iterator[Any]:
    """Yield a canvas with the drawing. The layout is computed once and reused for all files."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    settings: Any = MATPLOTLIB_SETTINGS | {"svg.hashsalt": salt}
    with mpl.rc_context(settings):
        canvas: Any = Canvas(figsize=(width, height), layout="constrained")
        draw(canvas)
        canvas.get_layout_engine().execute(canvas)
        canvas.set_layout_engine("none")
        yield canvas


def _render_inline(panel: Panel, salt: str) -> str:
    """Return a panel as SVG that takes its text and arm colors from CSS variables of the page."""
    text = StringIO()
    with _draw_canvas(salt, panel.draw, panel.width, panel.height) as canvas:
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    used_ids = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used_ids else "", svg)
    svg = svg.replace("'DejaVu Sans'", "var(--sans)").replace(TEXT_COLOR, "currentColor").replace(GRAY, "var(--soft)")
    for style in (*ROLE_STYLES.values(), *EXTRA_STYLES):
        variable = f"var(--c{style.color[1:].lower()}, {style.color})"
        svg = re.sub(style.color, variable, svg, flags=re.I)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = html.escape(panel.title, quote=True)
    width = round(panel.width * 120)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" style="max-width:{width}px" ', 1).strip()
