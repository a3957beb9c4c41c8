"""Tables as files for people: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from winnow.formatting import number

Row = Mapping[str, Any]


def save_table(rows: Sequence[Row], folder: Path, name: str, caption: str = "") -> list[Path]:
    """Write a table as ``NAME.csv``, ``NAME.md`` and ``NAME.tex``, and return the files.

    CSV has every digit; the others are written for people, with numbers as :func:`winnow.formatting.number` has them.

    Args:
        rows: Its rows; the first gives the columns.
        folder: Where to write; it is made where it does not exist.
        name: Name of the files.
        caption: What the table shows, for LaTeX.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"csv": to_csv(rows), "md": to_markdown(rows), "tex": to_latex(rows, caption)}
    for ending, text in texts.items():
        (folder / f"{name}.{ending}").write_text(text, encoding="utf-8")
    return [folder / f"{name}.{ending}" for ending in texts]


def to_csv(rows: Sequence[Row]) -> str:
    """Return a table as CSV; what is missing is empty."""
    text = StringIO()
    writer = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    r"""Return a table as Markdown; numbers stand to the right.

    >>> print(to_markdown([{"word": "a|b", "share": 0.25}]), end="")
    | word | share |
    | --- | ---: |
    | a\|b | 0.250 |
    """
    columns = _columns(rows)
    right = {name: _is_number(rows, name) for name in columns}
    lines = [columns, ["---:" if right[name] else "---" for name in columns]]
    lines += [[_text(row.get(name)).replace("|", "\\|").replace("\n", " ") for name in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(rows: Sequence[Row], caption: str = "") -> str:
    r"""Return a table as LaTeX, in the rules of the package ``booktabs``.

    >>> print(to_latex([{"word": "50%", "rank": 1}]), end="")
    \begin{tabular}{lr}
    \toprule
    word & rank \\
    \midrule
    50\% & 1 \\
    \bottomrule
    \end{tabular}
    """
    columns = _columns(rows)
    lines = [" & ".join(map(_escaped, columns)), "\\midrule"]
    lines += [" & ".join(_escaped(_text(row.get(name))) for name in columns) for row in rows]
    body = "\n".join(line if line == "\\midrule" else f"{line} \\\\" for line in lines)
    places = "".join("r" if _is_number(rows, name) else "l" for name in columns)
    table = f"\\begin{{tabular}}{{{places}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    if not caption:
        return table
    return f"\\begin{{table}}\n\\centering\n\\caption{{{_escaped(caption)}}}\n{table}\\end{{table}}\n"


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _is_number(rows: Sequence[Row], name: str) -> bool:
    values = [row.get(name) for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


_LATEX = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\N{MINUS SIGN}": "$-$"}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)
