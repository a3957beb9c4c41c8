"""Dispatch `winnow compare FILE...` to a CSV file of scores or to sample files of lm-evaluation-harness."""

from __future__ import annotations

import argparse
from pathlib import Path

from winnow.errors import WinnowError


def is_score_file(text: str) -> bool:
    """Return whether an argument is a file of scores rather than an override."""
    return text.endswith((".csv", ".jsonl")) and ("=" not in text or Path(text).exists())


def compare_score_files(options: argparse.Namespace) -> int:
    """Compare the arms of score files, print the result, and return the exit code."""
    from rich.console import Console

    from winnow.commands.compare_scores import read_scores, run_compare_scores
    from winnow.commands.sample_files import SampleOptions, read_samples

    names = options.overrides
    samples = SampleOptions(options.runs, options.metric, options.filter, options.cluster)
    if all(name.endswith(".jsonl") for name in names):
        scores = read_samples([Path(name) for name in names], samples)
        title = f"{len(names)} sample files"
    else:
        if len(names) > 1:
            raise WinnowError(
                f"expected one CSV file or several files *.jsonl, got {', '.join(names)}. Remove the other arguments.",
                "scores",
            )
        if samples != SampleOptions():
            raise WinnowError(
                "--runs, --metric, --filter and --cluster apply only to sample files (*.jsonl). Remove them.", "scores"
            )
        scores, title = read_scores(Path(names[0])), Path(names[0]).name
    run_compare_scores(scores, title, options.baseline, options.json, Console(highlight=False))
    return 0
