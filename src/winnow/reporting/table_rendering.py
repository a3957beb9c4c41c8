"""Tables as CSV, Markdown, LaTeX, notebook HTML and terminal output."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.formatting import MINUS_SIGN, MISSING_VALUE, format_number
from winnow.untrusted_text import escape_markdown, neutralize_row

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as ConsoleTable

LATEX_ESCAPES = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    MINUS_SIGN: "$-$", MISSING_VALUE: "--", "±": r"$\pm$", "\n": " ",
})  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table with full-precision values in ``data`` and the same values as rounded text in ``display``."""

    name: str
    caption: str
    data: pd.DataFrame
    display: pd.DataFrame

    def save(self, folder: Path) -> list[Path]:
        """Write ``NAME.csv``, ``NAME.md`` and ``NAME.tex`` into a folder and return the paths."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "tex": self.to_latex()}
        for ending, text in texts.items():
            (folder / f"{self.name}.{ending}").write_text(text, encoding="utf-8")
        return [folder / f"{self.name}.{ending}" for ending in texts]

    def to_csv(self) -> str:
        """Return the table as CSV with full precision. Unknown values are empty, and formulas are neutralized."""
        import pandas as pd

        rows = [neutralize_row(row) for row in self.data.itertuples(index=False, name=None)]
        return str(pd.DataFrame(rows, columns=neutralize_row(self.data), dtype=object).to_csv(index=False))

    def to_markdown(self) -> str:
        r"""Return the table as Markdown, with numeric columns aligned to the right.

        >>> print(build_table([{"word": "a|b", "fraction": 0.25}], "words").to_markdown(), end="")
        | word | fraction |
        | --- | ---: |
        | a\|b | 0.250 |
        """
        lines = [
            list(self.display),
            ["---:" if right else "---" for right in self._find_numeric_columns()],
            *self.display.to_numpy(),
        ]
        cells = ([escape_markdown(str(text)) for text in line] for line in lines)
        return "".join(f"| {' | '.join(line)} |\n" for line in cells)

    def to_latex(self) -> str:
        r"""Return the table as a LaTeX float. The document must load ``booktabs`` with ``\usepackage{booktabs}``."""
        escaped_display = self.display.map(lambda text: text.translate(LATEX_ESCAPES)).rename(
            columns=lambda name: name.translate(LATEX_ESCAPES)
        )
        body = escaped_display.style.hide(axis="index").to_latex(
            hrules=True,
            column_format="".join("r" if right else "l" for right in self._find_numeric_columns()),
            caption=self.caption.translate(LATEX_ESCAPES) or None,
            label=f"tab:{self.name}",
            position_float="centering",
        )
        return f"% requires \\usepackage{{booktabs}}\n{body}"

    def _repr_html_(self) -> str:
        """Return the HTML that notebooks display."""
        styler = self.display.style.hide(axis="index").format(escape="html").format_index(escape="html", axis="columns")
        return str(styler.set_caption(html.escape(self.caption)).to_html())

    def _find_numeric_columns(self) -> list[bool]:
        """Return for each column whether all of the column's values are numbers."""
        return [all(_is_number(text) for text in column) for _, column in self.display.items()]


def build_table(
    rows: Sequence[Mapping[str, Any]], name: str, caption: str = "", display: Mapping[str, Sequence[str]] | None = None
) -> Table:
    """Build a table from rows.

    Args:
        rows: Rows with full precision. A missing key counts as an unknown value.
        name: Name of the table and of its files.
        caption: Caption of the table.
        display: Rounded text columns by heading. By default, all columns of ``rows`` with rounded numbers.
    """
    import pandas as pd

    data = pd.DataFrame(rows, dtype=object)
    text = data.map(format_value) if display is None else pd.DataFrame(display, dtype=object)
    return Table(name, caption, data, text)


def save_table(rows: Sequence[Mapping[str, Any]], folder: Path, name: str, caption: str = "") -> list[Path]:
    """Write rows as ``NAME.csv``, ``NAME.md`` and ``NAME.tex`` and return the paths."""
    return build_table(rows, name, caption).save(folder)


def build_console_table(first: str, *headings: str, title: str | None = None) -> ConsoleTable:
    """Return an empty terminal table whose first column contains names and whose other columns are right-aligned."""
    from rich.markup import escape
    from rich.table import Table as ConsoleTable

    style: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "header_style": "bold"}
    table = ConsoleTable(title=title, box=None, padding=(0, 2), **style)
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(escape(heading), justify="right", overflow="fold")
    return table


def format_value(value: Any) -> str:
    """Return a value as text, with thousands separators and rounded floats. Missing values become empty strings."""
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else format_number(value)


def _is_number(text: str) -> bool:
    return text in ("", MISSING_VALUE) or text.lstrip(f"<> {MINUS_SIGN}+")[:1].isdigit()
