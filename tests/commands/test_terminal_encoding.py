"""Terminals that only display ASCII, and names that look like markup."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from winnow.commands.terminal_encoding import is_unicode_terminal, substitute_unencodable_characters
from winnow.reporting.table_rendering import build_console_table
from winnow.run.console_summaries import print_verdicts

ASCII_OUTPUT = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*arguments: str, folder: Path, variables: dict[str, str]) -> str:
    command = [sys.executable, "-m", "winnow", *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    return (done.stdout + done.stderr).decode("ascii")


@pytest.mark.slow
def test_a_filter_runs_on_an_ascii_terminal(tmp_path: Path) -> None:
    command = ["filter", "dataset.source.rows=1500", "output_dir='out [red]'"]
    output = run(*command, folder=tmp_path, variables={**C_LOCALE, **ASCII_OUTPUT})
    assert "Report: out [red]/filters" in output.replace("\n", "")


@pytest.mark.slow
def test_a_printed_configuration_is_complete_on_an_ascii_terminal(tmp_path: Path) -> None:
    text = run("train", "--cfg", "probe.nike.wanted=['\u00fcber']", folder=tmp_path, variables=ASCII_OUTPUT)
    assert yaml.safe_load(text)["probe"]["nike"]["wanted"] == ["\u00fcber"]
    error = run("train", "--cfg", "study.name='\u00fcber'", folder=tmp_path, variables=ASCII_OUTPUT)
    assert "got 'uber'" in error


def test_an_unencodable_character_is_substituted(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    substitute_unencodable_characters()
    assert not is_unicode_terminal()
    print("5 \u00b5s \u2212 caf\u00e9 \u2605 \ud800", flush=True)
    assert raw.getvalue() == b"5 us - cafe * ?\n"
    print(json.dumps({"a": "\u00fc"}, ensure_ascii=not is_unicode_terminal()), flush=True)
    assert json.loads(raw.getvalue().splitlines()[1]) == {"a": "\u00fc"}


def test_markup_in_names_is_printed_as_text() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    counts = {"pass": 1, "fail": 1, "null": 0}
    summary = {
        "filter": "[red]f[/red]",
        "keep": "[/bold] a",
        "signals": {"[link=http://a]s": counts},
        "funnel": [{"stage": "[b]stage", "rows": 2}],
        "rows": {"train": {"kept": 1, "total": 2}},
    }
    print_verdicts(console, summary, {"terms": {"[/x] t": {"drops": 1}}, "redundant": ["[/y] r"]})
    for text in ("[red]f[/red]", "[/bold] a", "[link=http://a]s", "[b]stage", "[/x] t", "[/y] r"):
        assert text in stream.getvalue()
    table = build_console_table("", "[/model]")
    console.print(table)
    assert "[/model]" in stream.getvalue()
