"""Numbers as they are written for people."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits, a true minus sign, and a dash where there is none.

    >>> number(0.012345), number(1234.5), number(2)
    ('0.0123', '1,234', '2.00')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}".replace("-", MINUS)


def interval(low: float | None, high: float | None) -> str:
    """Return the ends of an interval, both to the precision that its width deserves, or a dash.

    >>> interval(0.57343, 1.11449)
    '0.57 to 1.11'
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    decimals = 2 if high == low else min(6, max(0, 1 - math.floor(math.log10((high - low) / 2))))
    return " to ".join(f"{end:,.{decimals}f}".replace("-", MINUS) for end in (low, high))


def p_text(p: float | None) -> str:
    """Return a p value as it is written in a sentence.

    >>> p_text(0.00004), p_text(0.0312)
    ('p < 0.0001', 'p = 0.031')
    """
    if p is None or math.isnan(p):
        return "p not known"
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def p_short(p: float | None) -> str:
    """Return a p value as it is written in a column headed p.

    >>> p_short(0.00004), p_short(0.0312)
    ('< 0.0001', '0.031')
    """
    return NOTHING if p is None or math.isnan(p) else p_text(p).removeprefix("p ").removeprefix("= ")


def whole(value: float | None) -> str:
    """Return a count with thousands separators, or a dash if it is unknown.

    >>> whole(1234.4)
    '1,234'
    """
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Return names as a sentence does.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def duration(seconds: float | None) -> str:
    """Return a length of time in the unit that fits it.

    >>> duration(42.3), duration(600), duration(9000)
    ('42 s', '10.0 min', '2.5 h')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def bar(share: float, width: int = 12) -> str:
    """Return a bar of block characters for a share in [0, 1], to an eighth of a character.

    >>> bar(0.5, 4), bar(0.03, 4)
    ('██', '▏')
    """
    eighths = max(1, round(share * width * 8)) if share > 0 else 0
    return "█" * (eighths // 8) + ("" if eighths % 8 == 0 else "▏▎▍▌▋▊▉"[eighths % 8 - 1])
