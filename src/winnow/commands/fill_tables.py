"""Tables of ranked words for `winnow fill`, split into several tables if the models do not fit side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from winnow.formatting import format_bar

RankedWords = Sequence[tuple[str, float]]

BAR_WIDTHS = (12, 6)
"""Possible widths of a bar, in characters. Narrow bars are used only if they reduce the number of tables. If not even
one model with a narrow bar fits, there are no bars."""

NUMBER_WIDTH = 5
PADDING = 2
"""The number of spaces around each column."""


def build_fill_tables(rankings: Mapping[str, RankedWords], width: int) -> list[Table]:
    """Build tables for one mask, with a row per rank and a column per model.

    Each table cell contains a word, the probability of the word and a bar. All bars have the same scale.

    Args:
        rankings: The ranked words of each model, keyed by the model's label.
        width: The width of the terminal in characters. Each table has at most this width, unless a single word is
            wider.
    """
    words = {label: [(_make_visible(word), number) for word, number in ranking] for label, ranking in rankings.items()}
    highest = max(probability for ranking in words.values() for _, probability in ranking)
    word_width = max(cell_len(word) for ranking in words.values() for word, _ in ranking)
    rank_width = len(str(max(map(len, words.values())))) + PADDING
    bar_width, models_per_table = _choose_layout(len(words), word_width, width - rank_width)
    labels = list(words)
    groups = [labels[start : start + models_per_table] for start in range(0, len(labels), models_per_table)]
    return [_build_table({label: words[label] for label in group}, highest, word_width, bar_width) for group in groups]


def _choose_layout(model_count: int, word_width: int, width: int) -> tuple[int, int]:
    """Return the width of the bars and the number of models per table that result in the fewest tables."""
    models_per_table = {bar: width // (_compute_cell_width(word_width, bar) + PADDING) for bar in BAR_WIDTHS}
    fitting = [bar for bar in BAR_WIDTHS if models_per_table[bar] > 0]
    if not fitting:
        return 0, 1
    bar_width = min(fitting, key=lambda bar: (math.ceil(model_count / models_per_table[bar]), -bar))
    return bar_width, models_per_table[bar_width]


def _compute_cell_width(word_width: int, bar_width: int) -> int:
    return word_width + 1 + NUMBER_WIDTH + (1 + bar_width if bar_width else 0)


def _build_table(rankings: Mapping[str, RankedWords], highest: float, word_width: int, bar_width: int) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("", justify="right", style="dim", no_wrap=True)
    for label in rankings:
        header = textwrap.fill(label, _compute_cell_width(word_width, bar_width))
        table.add_column(escape(header), overflow="fold")
    for rank in range(max(map(len, rankings.values()))):
        cells = [
            _format_cell(*ranking[rank], highest, word_width, bar_width) if rank < len(ranking) else ""
            for ranking in rankings.values()
        ]
        table.add_row(str(rank + 1), *cells)
    return table


def _format_cell(word: str, probability: float, highest: float, word_width: int, bar_width: int) -> str:
    text = f"{escape(word)}{' ' * (word_width - cell_len(word))} {probability:.3f}"
    return f"{text} [cyan]{format_bar(probability / highest, bar_width)}[/cyan]" if bar_width else text


def _make_visible(word: str) -> str:
    """Return a word without surrounding spaces. Whitespace and control characters are replaced with escapes."""
    text = word.strip() or word
    return text if text.isprintable() and not text.isspace() else repr(text)[1:-1].replace(" ", "␣")
