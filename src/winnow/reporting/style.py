"""Colors, markers, line styles and matplotlib settings that all figures share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INK = "#1f2430"
PAPER = "#ffffff"
GREY = "#767676"


@dataclass(frozen=True)
class Style:
    """Look of an arm; color, marker and line style each distinguish it alone.

    The colors are the Okabe-Ito palette, which color-blind readers can distinguish.
    """

    color: str
    marker: str
    line: str
    alpha: float = 1.0


ROLES = {
    "baseline": Style("#0072B2", "o", "-"),
    "filter": Style("#D55E00", "s", "--"),
    "control": Style("#009E73", "^", ":"),
}
OTHERS = (Style("#CC79A7", "D", "-."), Style("#E69F00", "v", "-"), Style("#56B4E9", "P", "--"))

MARKS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""The markers as characters, so that text and figures show an arm alike."""

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


def styles(roles: Mapping[str, str]) -> dict[str, Style]:
    """Return a style for every arm, given its role; arms beyond the three roles share the remaining styles."""
    spare = iter(OTHERS * len(roles))
    return {arm: ROLES[role] if role in ROLES else next(spare) for arm, role in roles.items()}
