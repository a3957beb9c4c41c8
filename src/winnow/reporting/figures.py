"""How every figure looks, and how one is turned into files and into parts of a page."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

INK = "#1f2430"
PAPER = "#ffffff"
GREY = "#767676"


@dataclass(frozen=True)
class Style:
    """What tells an arm apart: each of colour, marker and line does it alone.

    The colours are Okabe and Ito's, which colour-blind readers can tell apart.
    """

    colour: str
    marker: str
    line: str


ROLES = {
    "baseline": Style("#0072B2", "o", "-"),
    "filter": Style("#D55E00", "s", "--"),
    "control": Style("#009E73", "^", ":"),
}
OTHERS = (Style("#CC79A7", "D", "-."), Style("#E69F00", "v", "-"), Style("#56B4E9", "P", "--"))

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign among the fills is a word, not a formula
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Panel:
    """One part of a figure: what it shows in words, how to draw it, and its size in inches."""

    title: str
    draw: Callable[[FigureBase], None]
    width: float = 4.2
    height: float = 2.8


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its parts, and the files it was saved as."""

    name: str
    caption: str
    drawn: Sequence[Panel]
    files: list[Path]

    @functools.cached_property
    def panels(self) -> list[str]:
        """The parts as SVG texts that follow a page's colours, drawn when a page first asks for them."""
        return [_inline(panel, f"{self.name}-{i}") for i, panel in enumerate(self.drawn)]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the panels side by side, and the caption."""
        panels = "".join(f'<div style="flex:1 1 20rem;max-width:34rem">{panel}</div>' for panel in self.panels)
        names = f"--sans:'DejaVu Sans',sans-serif;--soft:{GREY}"
        told = f"<p><small>{html.escape(self.caption)}</small></p>"
        return f'<div style="display:flex;flex-wrap:wrap;gap:1rem;{names}">{panels}</div>{told}'


def styles(roles: dict[str, str]) -> dict[str, Style]:
    """Return a style for every arm, given its role; arms beyond the three roles share what is left."""
    spare = iter(OTHERS * len(roles))
    return {arm: ROLES[role] if role in ROLES else next(spare) for arm, role in roles.items()}


def render(name: str, caption: str, panels: Sequence[Panel], folder: Path | None, columns: int = 2) -> Figure:
    """Keep the panels for a page and, given a folder, draw them side by side into ``NAME.svg`` and ``NAME.png``."""
    if folder is None:
        return Figure(name, caption, panels, [])
    with _look(name):
        rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
        widths = [max(row[i].width for row in rows if i < len(row)) for i in range(len(rows[0]))]
        heights = [max(panel.height for panel in row) for row in rows]
        whole = _figure(sum(widths), sum(heights))
        grid = whole.subfigures(len(rows), len(widths), squeeze=False, width_ratios=widths, height_ratios=heights)
        for i, panel in enumerate(panels):
            panel.draw(grid[i // columns][i % columns])
        _settle(whole)
        files = [folder / f"{name}.{ending}" for ending in ("svg", "png")]
        whole.savefig(files[0], facecolor=PAPER, metadata={"Date": None, "Creator": None})
        whole.savefig(files[1], facecolor=PAPER, dpi=160)
    return Figure(name, caption, panels, files)


@contextmanager
def _look(salt: str) -> Iterator[None]:
    import matplotlib as mpl

    settings: Any = SETTINGS | {"svg.hashsalt": salt}
    with mpl.rc_context(settings):
        yield


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def _settle(canvas: Any) -> None:
    """Work the layout out once; left to itself matplotlib draws everything again for each file."""
    canvas.get_layout_engine().execute(canvas)
    canvas.set_layout_engine("none")


def _inline(panel: Panel, salt: str) -> str:
    """Return a panel as SVG that takes ink and arm colours from the page it stands in."""
    with _look(salt):
        canvas = _figure(panel.width, panel.height)
        panel.draw(canvas)
        _settle(canvas)
        text = StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = svg.replace("'DejaVu Sans'", "var(--sans)").replace(INK, "currentColor").replace(GREY, "var(--soft)")
    for style in (*ROLES.values(), *OTHERS):
        for colour in (style.colour, style.colour.lower()):
            svg = svg.replace(colour, f"var(--c{style.colour[1:].lower()}, {style.colour.upper()})")
    svg = re.sub(r"(<svg [^>]*?) width=\"[^\"]*\"", r"\1", svg, count=1)
    svg = re.sub(r"(<svg [^>]*?) height=\"[^\"]*\"", r"\1", svg, count=1)
    label = html.escape(panel.title, quote=True)
    width = round(panel.width * 120)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" style="max-width:{width}px" ', 1).strip()
