"""`winnow search`: searches settings on validation data, and confirms the best settings on test data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from winnow.config import SearchConfig
from winnow.config.overrides import parse_override
from winnow.errors import WinnowError
from winnow.search.confirmation import confirm, load_confirmed_comparison
from winnow.search.search_report import describe_search, write_search_report
from winnow.search.search_runner import Search


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of the search and those of `winnow train`. Both receive `allow_targets`.

    >>> split_overrides(["space=mine", "trials=5", "model.layers=1"])
    (['space=mine', 'trials=5'], ['model.layers=1'])
    """
    names = {field.name for field in dataclasses.fields(SearchConfig)}
    by_key = [(text.partition("=")[0].lstrip("+~").partition(".")[0], text) for text in overrides]
    search = [text for key, text in by_key if key in names]
    return search, [text for key, text in by_key if key not in names or key == "allow_targets"]


def build_search(
    config: SearchConfig, overrides: Sequence[str], config_dirs: Sequence[Path], console: Console
) -> Search:
    """Return a search, after checking all values of its space.

    Raises:
        WinnowErrors: If the configuration is invalid.
    """
    for text in overrides:
        if parse_override(text).is_sweep_override():
            key, _, values = text.partition("=")
            message = f"expected one value, got {values}. Add the values to the search space instead."
            raise WinnowError(message, key)
    return Search(config, overrides, config_dirs, console)


def run_search_command(search: Search, confirms: bool, console: Console) -> int:
    """Run a search and its confirmation, write the report, and return the number of failed cells of the confirmation.

    Raises:
        WinnowErrors: If the trial to confirm does not exist or is not complete, or if the confirmation is invalid.
    """
    result = search.run()
    if result.chosen is not None and result.winner is None:
        numbers = ", ".join(str(trial.number + 1) for trial in result.complete) or "none"
        message = f"trial {result.chosen + 1} is not complete. Choose a complete trial: {numbers}."
        raise WinnowError(message, "choose")
    failures, comparison = 0, None
    if confirms and result.winner is not None:
        console.print(f"\n[bold]Confirmation[/bold] of {escape(', '.join(result.winner.overrides))}", soft_wrap=True)
        failures = confirm(search, result, console)
        comparison = load_confirmed_comparison(result)
    report = write_search_report(result, comparison)
    console.print()
    for sentence in describe_search(result, comparison):
        console.print(escape(sentence), soft_wrap=True)
    console.print(f"Report: {escape(str(report))}", soft_wrap=True)
    return failures
