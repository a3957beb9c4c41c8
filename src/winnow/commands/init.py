"""`winnow init`: inspects a data file and writes a `conf/` folder for a study on it."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow.commands.column_summary import ColumnSummary, read_records, summarize_columns
from winnow.commands.study_files import StudyPlan, build_study_files
from winnow.config import TrainConfig, builtin_config_folder, compose_cells, construct
from winnow.data import Corpus, Dataset
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.filters import Mentions, Selection
from winnow.run.console_summaries import format_funnel
from winnow.untrusted_text import check_name

MIN_KEPT_ROWS: Final = 100

QUESTIONS: Final = {
    "text": "Text columns, separated by commas",
    "wanted": "Words the model should prefer, separated by commas",
    "unwanted": "Words the model should avoid, separated by commas",
    "subject": "What the texts are about, in one or a few words, such as dress",
    "comparison": "Other subjects to compare with, such as top,sweater (optional)",
    "label": "Label column (optional)",
    "group": "Column of related rows that must stay in one split, such as a product (optional)",
}
OPTIONAL: Final = ("comparison", "label", "group")


def run_init(options: argparse.Namespace, console: Console, ask: Callable[[str], str] | None = None) -> list[Path]:
    """Write the config files of a study on a data file, check them, and print the commands that use them.

    Args:
        options: The options of the command.
        console: The console to print to.
        ask: A function that returns the user's answer to a question; `None` uses only the options. By default, answers
            are read from the terminal if there is one.

    Returns:
        The files that were written.

    Raises:
        WinnowErrors: If an option is missing or invalid. All errors are reported together.
    """
    path = Path(options.file)
    records = read_records(path)
    columns = summarize_columns(records)
    _print_columns(console, path, len(records), columns)
    if ask is None and sys.stdin.isatty():
        ask = input
    plan = _build_plan(options, columns, ask)
    folder = Path(options.conf)
    files = {folder / name: text for name, text in build_study_files(plan).items()}
    _check_existing_files(files, folder, options.force)
    new_files = [file for file in files if not file.exists()]
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    try:
        corpus = _load_corpus(plan, folder)
    except WinnowError:
        for file in new_files:  # so that the corrected command finds no files that it would overwrite
            file.unlink()
        raise
    for file in files:
        console.print(f"wrote {escape(str(file))}", soft_wrap=True)
    console.print(f"corpus: {format_funnel(corpus.funnel)}", soft_wrap=True)
    _print_next_steps(console, plan, records, folder)
    return list(files)


def _print_columns(console: Console, path: Path, rows: int, columns: Sequence[ColumnSummary]) -> None:
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


def _build_plan(
    options: argparse.Namespace, columns: Sequence[ColumnSummary], ask: Callable[[str], str] | None
) -> StudyPlan:
    """Return the plan. Missing options are requested from the user, or have a default, or are errors."""
    suggested = [column.name for column in columns if column.role == "text"]
    answers: dict[str, list[str]] = {}
    errors: list[WinnowError] = []
    for name, question in QUESTIONS.items():
        value = getattr(options, name)
        default = ",".join(suggested) if name == "text" else ""
        if value is None and ask is not None:
            value = ask(f"{question}{f' [{default}]' if default else ''}: ")
        answers[name] = [word.strip() for word in (value or default).split(",") if word.strip()]
        if not answers[name] and name not in OPTIONAL:
            errors.append(WinnowError(f"expected a value. {question}.", f"--{name}"))
    names = [column.name for column in columns]
    for option in ("text", "label", "group"):
        errors += [
            WinnowError(f"the file has no column '{name}'.{did_you_mean(name, names)} Allowed: {', '.join(names)}.",
                        f"--{option}")
            for name in answers[option] if name not in names
        ]  # fmt: skip
    study = options.name or re.sub(r"[^A-Za-z0-9_]+", "_", Path(options.file).stem).strip("_").lower()
    try:
        check_name(study)
    except ValueError as error:
        errors.append(WinnowError(f"the name {study!r} is not valid. {error}.", "--name"))
    if errors:
        raise WinnowErrors(errors)
    return StudyPlan(
        study,
        Path(options.file),
        answers["text"],
        answers["wanted"],
        answers["unwanted"],
        answers["subject"],
        answers["comparison"],
        next(iter(answers["label"]), None),
        next(iter(answers["group"]), None),
    )


def _check_existing_files(files: Mapping[Path, str], folder: Path, force: bool) -> None:
    for file in files:
        if (builtin_config_folder() / file.relative_to(folder)).exists():
            raise WinnowError(f"{file.stem} is the name of a built-in configuration. Choose another name.", "--name")
    existing = [str(file) for file, text in files.items() if file.exists() and file.read_text("utf-8") != text]
    if existing and not force:
        raise WinnowError(
            f"{', '.join(existing)} would be overwritten. Choose another name with --name, or add --force.", "--name"
        )


def _load_corpus(plan: StudyPlan, folder: Path) -> Corpus:
    """Compose the study, construct and check its components, and return the corpus.

    Raises:
        WinnowErrors: If the configuration is not valid, or does not fit the data.
    """
    from winnow.evaluation import Probe

    is_default_folder = folder.resolve() == Path.cwd() / "conf"
    cells, _ = compose_cells(
        "train", TrainConfig, [f"experiment={plan.name}"], config_dirs=[] if is_default_folder else [folder]
    )
    config = cells[-1].config
    dataset = construct(config.dataset, "dataset", Dataset)
    components: dict[str, Any] = {
        "dataset": dataset,
        "filter": construct(config.filter, "filter", Selection),  # type: ignore[type-abstract]
        f"probe.{plan.name}": construct(config.probe[plan.name], f"probe.{plan.name}", Probe),
    }
    if errors := [error.with_prefix(key) for key, component in components.items() for error in component.check()]:
        raise WinnowErrors(errors)
    with tempfile.TemporaryDirectory() as cache:
        try:
            return dataset.load(Path(cache))
        except WinnowError as error:
            raise error.with_prefix("dataset") from error


def _print_next_steps(console: Console, plan: StudyPlan, records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    texts = [" ".join(str(record.get(name) or "") for name in plan.text) for record in records]
    masks = {
        role: _find_mentions(words, texts)
        for role, words in (("subject", plan.subject), ("wanted", plan.wanted), ("unwanted", plan.unwanted))
    }
    kept = sum(s and w and not u for s, w, u in zip(masks["subject"], masks["wanted"], masks["unwanted"], strict=True))
    counts = ", ".join(f"{role} {sum(mask):,}" for role, mask in masks.items())
    console.print(
        f"\nRows that mention each list: {counts}. The filter keeps {kept:,} of {len(texts):,} rows.", soft_wrap=True
    )
    words = (*plan.wanted, *plan.unwanted, *plan.subject)
    if absent := [word for word in words if not any(_find_mentions([word], texts))]:
        console.print(f"[yellow]Words that no row mentions: {escape(', '.join(absent))}.[/yellow]", soft_wrap=True)
    if kept < MIN_KEPT_ROWS:
        file = folder / "filter" / f"{plan.filter_name}.yaml"
        advice = f"Add wanted words, or remove `subject &` from keep in {file}."
        console.print(f"[yellow]{kept} rows are few for training. {escape(advice)}[/yellow]", soft_wrap=True)
    option = "" if folder == Path("conf") else f" -cd {folder}"
    console.print("\nNext:")
    study = f"winnow train experiment={plan.name}"
    for command, purpose in (
        (f"winnow filter dataset={plan.name} filter={plan.filter_name}{option}", "what the filter keeps and drops"),
        (f"{study} seed=1,2 training.max_steps=50{option}", "a short study, to see that it works"),
        (f"{study}{option}", "three arms, five seeds, the verdict and the report"),
    ):
        console.print(f"  {escape(command)}", soft_wrap=True)
        console.print(f"      [dim]{purpose}[/dim]")


def _find_mentions(words: Sequence[str], texts: Sequence[str]) -> list[bool]:
    signal = Mentions(words=list(words))
    kept: list[bool] = signal.keep(signal.score_array(pa.array(texts, pa.string()))).to_pylist()
    return kept
