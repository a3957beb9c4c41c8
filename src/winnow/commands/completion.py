"""Complete commands, options, config groups, studies and runs in the shell, with the package argcomplete."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from winnow.errors import WinnowError

SHELLS: Final = ("bash", "zsh", "fish")

STUDY_COMMANDS: Final = ("compare", "runs", "export")
"""Commands whose first argument is a study."""

RUN_COMMANDS: Final = ("evaluate", "fill", "rerun", "promote", "push")
"""Commands whose arguments are runs."""

_DATABASE: Final = Path("outputs", "mlflow.db")
"""The embedded store in the default output folder. Importing MLflow takes seconds, so its tables are read directly."""

_RUNS_QUERY: Final = """
SELECT DISTINCT study.value, arm.value, seed.value
FROM runs
JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = ? AND kind.value = 'cell'
JOIN tags AS study ON study.run_uuid = runs.run_uuid AND study.key = ?
JOIN tags AS arm ON arm.run_uuid = runs.run_uuid AND arm.key = ?
JOIN tags AS seed ON seed.run_uuid = runs.run_uuid AND seed.key = ?
WHERE runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
"""


def format_completion_script(shell: str) -> str:
    """Return the script that enables completion of `winnow` in a shell.

    Raises:
        WinnowError: If argcomplete is not installed.
    """
    try:
        import argcomplete
    except ImportError as error:
        raise WinnowError(
            "completion requires the package argcomplete. Install it with: pip install 'winnow-mlm[completion]'"
        ) from error
    return str(argcomplete.shellcode(["winnow"], shell=shell))


def complete(parser: argparse.ArgumentParser) -> None:
    """Print the completions of the command line that the shell passes in the environment, and exit."""
    import argcomplete

    argcomplete.autocomplete(parser, always_complete_options=False)


def add_completers(command: argparse.ArgumentParser, name: str) -> None:
    """Attach a function that lists completions to the positional arguments of a command."""

    def list_arguments(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        return [text for text in list_completions(name, prefix, parsed_args.config_dir) if text.startswith(prefix)]

    for action in command._actions:  # argparse has no public list of a parser's arguments
        if action.dest in ("overrides", "run"):
            action.completer = list_arguments  # type: ignore[attr-defined]


def list_completions(command: str, prefix: str, config_dirs: Iterable[str] = ()) -> list[str]:
    """Return the possible arguments of a command that start with a prefix, and possibly others.

    Args:
        command: The name of the command.
        prefix: The text before the cursor, such as `fil`, `filter=full,ni` or `demo/`.
        config_dirs: Additional folders with config files.
    """
    if "=" in prefix:
        return _list_choices(prefix, config_dirs)
    runs = _list_runs() if command in (*STUDY_COMMANDS, *RUN_COMMANDS) else []
    if command in STUDY_COMMANDS:
        names = sorted({study for study, _, _ in runs})
    else:
        names = ["/".join(run) for run in runs] if command in RUN_COMMANDS else []
    return names + _list_keys(command)


def _list_choices(prefix: str, config_dirs: Iterable[str]) -> list[str]:
    """Return the options of a config group. After a comma, the next option of a sweep is completed."""
    from winnow.config import list_group_options

    group, _, values = prefix.partition("=")
    first, comma, _ = values.rpartition(",")
    options = list_group_options([Path(folder) for folder in config_dirs]).get(group, [])
    return [f"{group}={first}{comma}{option}" for option in options if option not in first.split(",")]


def _list_keys(command: str) -> list[str]:
    from winnow.commands.config_key_help import list_keys

    return [f"{key.name}=" for key in list_keys(command)]


def _list_runs() -> list[tuple[str, str, str]]:
    """Return study, arm and seed of the finished runs in the embedded store, or nothing if there is no store."""
    from winnow.tracking.keys import ARM, KIND, SEED, STUDY

    if not _DATABASE.is_file():
        return []
    try:
        connection = sqlite3.connect(f"file:{_DATABASE}?mode=ro", uri=True, timeout=0.5)
        try:
            runs = connection.execute(_RUNS_QUERY, (KIND, STUDY, ARM, SEED)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:  # completion must not print errors
        return []
    return sorted(runs, key=lambda run: (run[0], run[1], int(run[2])))
