"""Print what `winnow init` found in the data file, and the commands that use the files that it wrote."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow.commands.column_summary import ColumnSummary
from winnow.commands.study_files import StudyPlan
from winnow.filters import Filter, Mentions

MIN_KEPT_ROWS: Final = 100
MIN_SCRATCH_ROWS: Final = 5_000


def print_columns(console: Console, path: Path, rows: int, columns: Sequence[ColumnSummary]) -> None:
    """Print a table of the columns with a guess of what each contains."""
    console.print(f"[bold]{escape(path.name)}[/bold]: {rows:,} rows, {len(columns)} columns", soft_wrap=True)
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for heading in ("column", "filled", "distinct", "probably", "example"):
        table.add_column(heading, justify="right" if heading in ("filled", "distinct") else "left", overflow="fold")
    name_width = min(console.width // 3, max(len(column.name) for column in columns))
    example_width = max(10, console.width - name_width - len("filled distinct probably") - 10)
    for column in columns:
        example = " ".join(column.example.split())
        shortened = example if len(example) <= example_width else f"{example[: example_width - 1]}…"
        name = textwrap.fill(column.name, name_width)
        table.add_row(escape(name), f"{column.filled:,}", f"{column.distinct:,}", column.role, escape(shortened))
    console.print(table)


def print_next_steps(
    console: Console, plan: StudyPlan, train_rows: pa.Table, folder: Path, is_from_scratch: bool
) -> None:
    """Print how many training rows the filter keeps, warnings about few rows, and the next commands."""
    _print_kept_rows(console, plan, train_rows, folder / "filter" / f"{plan.filter_name}.yaml")
    if is_from_scratch and train_rows.num_rows < MIN_SCRATCH_ROWS:
        console.print(
            f"[yellow]{train_rows.num_rows:,} training rows are too few to learn more than word frequencies from "
            "scratch. Use a pretrained model (`model=distilbert`) or more rows.[/yellow]",
            soft_wrap=True,
        )
    option = "" if folder == Path("conf") else f" -cd {folder}"
    console.print("\nNext:")
    study = f"winnow train experiment={plan.name}"
    trial = f"study.name={plan.name}_try seed=1,2 training.max_steps=50"
    for command, purpose in (
        (f"winnow filter dataset={plan.name} filter={plan.filter_name}{option}", "what the filter keeps and drops"),
        (f"{study} {trial}{option}", "a short study, to see that it works"),
        (f"{study}{option}", "three arms, five seeds, the verdict and the report"),
    ):
        console.print(f"  {escape(command)}", soft_wrap=True)
        console.print(f"      [dim]{purpose}[/dim]")


def _print_kept_rows(console: Console, plan: StudyPlan, train_rows: pa.Table, file: Path) -> None:
    signals = {name: Mentions(words=words) for name, words in plan.signal_words.items()}
    verdicts = Filter(name=plan.filter_name, signals=dict(signals), keep=plan.keep).score_rows(train_rows).table
    kept = pc.sum(verdicts["keep"]).as_py() or 0
    counts = ", ".join(f"{name} {pc.sum(verdicts[f'{name}.keep']).as_py() or 0:,}" for name in signals)
    console.print(
        f"\nTraining rows that mention each list: {counts}. The filter keeps {kept:,} of {train_rows.num_rows:,} "
        "training rows.",
        soft_wrap=True,
    )
    example = "wanted" if plan.keep == "~unwanted" else "~unwanted"
    advice = f"To keep other rows, edit `keep: {plan.keep}` in {file}, for example `keep: {example}`."
    console.print(escape(advice), soft_wrap=True)
    words = [word for listed in plan.signal_words.values() for word in listed]
    if absent := [word for word in words if not _is_mentioned(word, train_rows)]:
        console.print(
            f"[yellow]Words that no training row mentions: {escape(', '.join(absent))}.[/yellow]", soft_wrap=True
        )
    if kept < MIN_KEPT_ROWS:
        console.print(
            f"[yellow]{kept} rows are few for training. Add wanted words, or remove a term from `keep`.[/yellow]",
            soft_wrap=True,
        )


def _is_mentioned(word: str, rows: pa.Table) -> bool:
    signal = Mentions(words=[word])
    texts = rows["text"].combine_chunks()
    return bool(pc.any(signal.keep(signal.score_array(texts))).as_py())
