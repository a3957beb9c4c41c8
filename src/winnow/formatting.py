"""Format numbers, p values, durations and lists of names for reports and the terminal."""

from __future__ import annotations

import math

MINUS_SIGN = "\N{MINUS SIGN}"
MISSING_VALUE = "\N{EN DASH}"


def format_number(value: float | None, digits: int = 3) -> str:
    """Format a number with `digits` significant digits and a Unicode minus sign, or return a dash for a missing value.

    >>> format_number(0.012345), format_number(1234.5), format_number(2)
    ('0.0123', '1,234', '2.00')
    """
    if value is None or not math.isfinite(value):
        return MISSING_VALUE
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}".replace("-", MINUS_SIGN)


def format_interval(low: float | None, high: float | None) -> str:
    """Format an interval, rounded according to its width, or return a dash if a bound is missing.

    >>> format_interval(0.57343, 1.11449)
    '0.57 to 1.11'
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return MISSING_VALUE
    decimals = 2 if high == low else min(6, max(0, 1 - math.floor(math.log10((high - low) / 2))))
    return " to ".join(f"{bound:,.{decimals}f}".replace("-", MINUS_SIGN) for bound in (low, high))


def format_p_value(p: float | None) -> str:
    """Format a p value for a sentence, with the prefix "p = " or "p < ".

    >>> format_p_value(0.00004), format_p_value(0.0312)
    ('p < 0.0001', 'p = 0.031')
    """
    if p is None or math.isnan(p):
        return "p unknown"
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def format_p_cell(p: float | None) -> str:
    """Format a p value for a table column with the heading "p".

    >>> format_p_cell(0.00004), format_p_cell(0.0312)
    ('< 0.0001', '0.031')
    """
    return MISSING_VALUE if p is None or math.isnan(p) else format_p_value(p).removeprefix("p ").removeprefix("= ")


def format_confidence(confidence: float) -> str:
    """Format the coverage of an interval.

    >>> format_confidence(0.95), format_confidence(0.9875)
    ('95%', '98.75%')
    """
    return f"{100 * confidence:.4g}%"


def format_percentage(fraction: float) -> str:
    """Format a fraction as a percentage with one decimal, or with one significant digit if it is below 1%.

    >>> format_percentage(0.0583), format_percentage(0.0042), format_percentage(0.00046)
    ('5.8%', '0.4%', '0.05%')
    """
    if fraction == 0 or fraction >= 0.01:
        return f"{fraction:.1%}"
    return f"{fraction:.{min(6, -2 - math.floor(math.log10(fraction)))}%}"


def format_count(value: float | None) -> str:
    """Format a count with thousands separators, or return a dash for a missing count.

    >>> format_count(1234.4)
    '1,234'
    """
    return MISSING_VALUE if value is None or not math.isfinite(value) else f"{value:,.0f}"


def join_names(names: list[str] | tuple[str, ...]) -> str:
    """Join names with commas and a final "and".

    >>> join_names(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def format_duration(seconds: float | None) -> str:
    """Format a duration in seconds, minutes or hours, or return a dash for a missing duration.

    >>> format_duration(42.3), format_duration(600), format_duration(9000)
    ('42 s', '10.0 min', '2.5 h')
    """
    if seconds is None or not math.isfinite(seconds):
        return MISSING_VALUE
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def format_bar(fraction: float, width: int = 12) -> str:
    """Return a bar of block characters for a fraction in [0, 1], with a resolution of an eighth of a character.

    >>> format_bar(0.5, 4), format_bar(0.03, 4)
    ('██', '▏')
    """
    eighths = max(1, round(fraction * width * 8)) if fraction > 0 else 0
    return "█" * (eighths // 8) + ("" if eighths % 8 == 0 else "▏▎▍▌▋▊▉"[eighths % 8 - 1])


def shorten_middle(text: str, width: int) -> str:
    """Return a text of at most `width` characters, with an ellipsis in the middle if it is longer.

    >>> shorten_middle("nike_positive seed 1", 12), shorten_middle("full seed 1", 12)
    ('nike_…seed 1', 'full seed 1')
    """
    if len(text) <= width:
        return text
    start = (width - 1) // 2
    return f"{text[:start]}…{text[len(text) - (width - 1 - start) :]}"
