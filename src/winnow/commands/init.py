"""`winnow init`: inspects a data file and writes a `conf/` folder for a study on it."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from winnow.commands.column_summary import ColumnSummary, read_records, summarize_columns
from winnow.commands.init_output import print_columns, print_next_steps
from winnow.commands.study_files import StudyPlan, build_study_files
from winnow.config import TrainConfig, builtin_config_folder, compose_cells, construct
from winnow.data import Corpus, Dataset
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.filters import Filter, Mentions, Selection
from winnow.run.console_summaries import format_funnel
from winnow.untrusted_text import check_name

QUESTIONS: Final = {
    "text": "Text columns, separated by commas",
    "wanted": "Words the model should prefer, separated by commas",
    "unwanted": "Words the model should avoid, separated by commas",
    "subject": "What the texts are about, in one or a few words, such as dress (optional)",
    "comparison": "Other subjects to compare with, such as top,sweater (optional)",
    "label": "Label column (optional)",
    "group": "Column of related rows that must stay in one split, such as a product (optional)",
}
OPTIONAL: Final = ("subject", "comparison", "label", "group")


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
    print_columns(console, path, len(records), columns)
    if ask is None and sys.stdin.isatty():
        ask = input
    plan = _build_plan(options, columns, ask)
    folder = Path(options.conf)
    files = {folder / name: text for name, text in build_study_files(plan).items()}
    _check_existing_files(files, folder, options.force)
    new_files = [file for file in files if not file.exists()]
    new_folders = {parent for file in files for parent in file.parents if not parent.exists()}
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    try:
        config, corpus = _check_study(plan, folder)
    except WinnowError:
        _remove(new_files, new_folders)  # so that the corrected command finds no files that it would overwrite
        raise
    for file in files:
        console.print(f"wrote {escape(str(file))}", soft_wrap=True)
    console.print(f"corpus: {format_funnel(corpus.funnel)}", soft_wrap=True)
    is_from_scratch = str(config.model["_target_"]).endswith(".Scratch")
    print_next_steps(console, plan, corpus.split("train"), folder, is_from_scratch)
    return list(files)


def _remove(files: Iterable[Path], folders: Iterable[Path]) -> None:
    for file in files:
        file.unlink()
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        folder.rmdir()


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
        is_needed = name != "comparison" or answers["subject"]  # without a subject, there is nothing to compare with
        if value is None and ask is not None and is_needed:
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
    if answers["comparison"] and not answers["subject"]:
        errors.append(WinnowError("other subjects require a subject. Add --subject.", "--comparison"))
    signals = ["subject", "wanted", "unwanted"] if answers["subject"] else ["wanted", "unwanted"]
    keep = options.keep or " & ".join(signals).replace("unwanted", "~unwanted")
    errors += _find_keep_errors(keep, signals)
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
        keep,
        answers["comparison"],
        next(iter(answers["label"]), None),
        next(iter(answers["group"]), None),
    )


def _find_keep_errors(keep: str, signals: Sequence[str]) -> list[WinnowError]:
    try:
        Filter(name="filter", signals={name: Mentions(words=[name]) for name in signals}, keep=keep)
    except WinnowError as error:
        return [WinnowError(error.message, "--keep")]
    return []


def _check_existing_files(files: Mapping[Path, str], folder: Path, force: bool) -> None:
    for file in files:
        if (builtin_config_folder() / file.relative_to(folder)).exists():
            raise WinnowError(f"{file.stem} is the name of a built-in configuration. Choose another name.", "--name")
    existing = [str(file) for file, text in files.items() if file.exists() and file.read_text("utf-8") != text]
    if existing and not force:
        raise WinnowError(
            f"{', '.join(existing)} would be overwritten. Choose another name with --name, or add --force.", "--name"
        )


def _check_study(plan: StudyPlan, folder: Path) -> tuple[TrainConfig, Corpus]:
    """Compose the study, construct and check its components, and return its configuration and corpus.

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
            return config, dataset.load(Path(cache))
        except WinnowError as error:
            raise error.with_prefix("dataset") from error
