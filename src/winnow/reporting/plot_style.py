"""Colors, markers, line styles and matplotlib settings shared by all figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT_COLOR = "#1f2430"
BACKGROUND_COLOR = "#ffffff"
GRAY = "#767676"


@dataclass(frozen=True)
class Style:
    """Color, marker and line style of an arm. Each of these properties alone identifies the arm.

    The colors are from the Okabe-Ito palette, which is designed for color-blind readers.
    """

    color: str
    marker: str
    line: str
    alpha: float = 1.0


ROLE_STYLES = {
    "baseline": Style("#0072B2", "o", "-"),
    "filter": Style("#D55E00", "s", "--"),
    "control": Style("#009E73", "^", ":"),
}
# The page shows verdicts in yellowish green, crimson and yellow, so no arm has one of these colors.
EXTRA_STYLES = (Style("#CC79A7", "D", "-."), Style("#000000", "v", "-"), Style("#56B4E9", "P", "--"))

MARKER_CHARACTERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""Unicode characters that match the matplotlib markers, for use in text."""

ROLE_MARKS = {"wanted": "✓", "unwanted": "✗"}
"""The character in front of a word that a probe lists, by the role of the word."""

MATPLOTLIB_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": TEXT_COLOR,
    "text.parse_math": False,  # a predicted word can contain a dollar sign
    "axes.labelcolor": TEXT_COLOR,
    "axes.edgecolor": TEXT_COLOR,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.color": TEXT_COLOR,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "xtick.color": TEXT_COLOR,
    "ytick.color": TEXT_COLOR,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
}


def assign_styles(roles: Mapping[str, str]) -> dict[str, Style]:
    """Return a style for every arm, given its role. Roles without a style cycle through the extra styles."""
    extra_styles = iter(EXTRA_STYLES * len(roles))
    return {arm: ROLE_STYLES[role] if role in ROLE_STYLES else next(extra_styles) for arm, role in roles.items()}
