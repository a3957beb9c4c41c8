"""Tables: CSV for programs; Markdown, LaTeX, notebooks and the terminal for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.formatting import MINUS, NOTHING, number

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as ConsoleTable

LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    MINUS: "$-$", NOTHING: "--", "±": r"$\pm$", "\n": " ",
})  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table: every digit in ``data`` for programs, rounded text in ``shown`` for people."""

    name: str
    caption: str
    data: pd.DataFrame
    shown: pd.DataFrame

    def save(self, folder: Path) -> list[Path]:
        """Write ``NAME.csv``, ``NAME.md`` and ``NAME.tex`` into a folder, created if missing; return the files."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "tex": self.to_latex()}
        for ending, text in texts.items():
            (folder / f"{self.name}.{ending}").write_text(text, encoding="utf-8")
        return [folder / f"{self.name}.{ending}" for ending in texts]

    def to_csv(self) -> str:
        """Return the table as CSV with every digit; unknown values are empty."""
        return str(self.data.to_csv(index=False))

    def to_markdown(self) -> str:
        r"""Return the table as Markdown, with numbers aligned to the right.

        >>> print(table_of([{"word": "a|b", "share": 0.25}], "words").to_markdown(), end="")
        | word | share |
        | --- | ---: |
        | a\|b | 0.250 |
        """
        lines = [list(self.shown), ["---:" if right else "---" for right in self._numeric()], *self.shown.to_numpy()]
        cells = ([str(text).replace("|", "\\|").replace("\n", " ") for text in line] for line in lines)
        return "".join(f"| {' | '.join(line)} |\n" for line in cells)

    def to_latex(self) -> str:
        r"""Return the table as a float with booktabs rules; the document needs ``\usepackage{booktabs}``."""
        escaped = self.shown.map(lambda text: text.translate(LATEX)).rename(columns=lambda name: name.translate(LATEX))
        body = escaped.style.hide(axis="index").to_latex(
            hrules=True,
            column_format="".join("r" if right else "l" for right in self._numeric()),
            caption=self.caption.translate(LATEX) or None,
            label=f"tab:{self.name}",
            position_float="centering",
        )
        return f"% needs \\usepackage{{booktabs}}\n{body}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self.shown.style.hide(axis="index").format(escape="html").set_caption(self.caption).to_html()

    def _numeric(self) -> list[bool]:
        """Return for each column whether it holds only numbers."""
        return [all(_is_number(text) for text in column) for _, column in self.shown.items()]


def table_of(
    rows: Sequence[Mapping[str, Any]], name: str, caption: str = "", shown: Mapping[str, Sequence[str]] | None = None
) -> Table:
    """Return rows as a table.

    Args:
        rows: The rows, with every digit; a key that a row lacks is unknown.
        name: Name of the table and its files.
        caption: What the table shows.
        shown: The columns for people by heading; by default those of the rows, with numbers rounded.
    """
    import pandas as pd

    data = pd.DataFrame(rows, dtype=object)
    people = data.map(text_of) if shown is None else pd.DataFrame(shown, dtype=object)
    return Table(name, caption, data, people)


def save_table(rows: Sequence[Mapping[str, Any]], folder: Path, name: str, caption: str = "") -> list[Path]:
    """Write rows as ``NAME.csv``, ``NAME.md`` and ``NAME.tex``, and return the files."""
    return table_of(rows, name, caption).save(folder)


def console_table(first: str, *headings: str, title: str | None = None) -> ConsoleTable:
    """Return an empty table for the terminal: names in the first column, numbers aligned to the right in the others."""
    from rich.markup import escape
    from rich.table import Table as ConsoleTable

    style: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "header_style": "bold"}
    table = ConsoleTable(title=title, box=None, padding=(0, 2), **style)
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(escape(heading), justify="right", overflow="fold")
    return table


def text_of(value: Any) -> str:
    """Return a value as people read it: integers with separators, floats rounded, nothing for a missing one."""
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


def _is_number(text: str) -> bool:
    return text in ("", NOTHING) or text.lstrip(f"<> {MINUS}+")[:1].isdigit()
