"""Colors, markers, line styles and matplotlib settings shared by all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEXT_COLOR = "#1f2430"
BACKGROUND_COLOR = "#ffffff"
GRAY = "#767676"


LineStyle = str | tuple[float, tuple[float, ...]]
"""A matplotlib line style: a name, or an offset and the lengths of dashes and gaps in multiples of the line width."""


@dataclass(frozen=True)
class Style:
    """Color, marker and line style of an arm. Each of these properties alone identifies the arm.

    The first six colors are from the Okabe-Ito palette, which is designed for color-blind readers. All colors differ in
    lightness, so that they also differ when printed in grayscale.
    """

    color: str
    marker: str
    line: LineStyle
    alpha: float = 1.0


ROLE_STYLES = {
    "baseline": Style("#0072B2", "o", "-"),
    "filter": Style("#D55E00", "s", "--"),
    "control": Style("#009E73", "^", ":"),
}
# The page shows verdicts in yellowish green, crimson and yellow, so no arm has one of these colors.
EXTRA_STYLES = (
    Style("#CC79A7", "D", "-."),
    Style("#000000", "v", (0, (9, 2))),
    Style("#56B4E9", "P", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
    Style("#E8A200", "X", (0, (1, 4))),
    Style("#8043A8", "<", (0, (9, 2, 3, 2))),
    Style("#7A3E10", ">", (0, (3.5, 4))),
    Style("#332288", "p", (0, (12, 2, 1, 2))),
    Style("#B27D40", "h", (0, (3, 1.2, 3, 1.2, 1, 1.2))),
    Style("#0E5650", "d", (0, (6, 1.5, 1, 1.5, 1, 1.5, 1, 1.5))),
)
OTHER_STYLE = Style(GRAY, ".", "-", 0.45)
"""The style of the arms that are not highlighted, if there are more arms than styles."""

MARKER_CHARACTERS = {
    "o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "<": "◀", ">": "▶", "p": "⬟", "h": "⬢",
    "d": "⬧", ".": "·",
}  # fmt: skip
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


def assign_styles(roles: Mapping[str, str], priority: Sequence[str] = ()) -> dict[str, Style]:
    """Return a style for every arm, given its role. No two arms share a style, except for :data:`OTHER_STYLE`.

    Args:
        roles: The role of each arm. The roles of ``ROLE_STYLES`` have fixed styles.
        priority: Arms that are styled before the other arms without a fixed style. If there are more arms than
            styles, the last ones have :data:`OTHER_STYLE`.
    """
    fixed = {role: arm for arm, role in reversed(list(roles.items())) if role in ROLE_STYLES}
    styles = {arm: ROLE_STYLES[role] for role, arm in fixed.items()}
    others = [arm for arm in dict.fromkeys([*priority, *roles]) if arm in roles and arm not in styles]
    styles |= dict(zip(others, [*EXTRA_STYLES, *[OTHER_STYLE] * len(others)], strict=False))
    return {arm: styles[arm] for arm in roles}
