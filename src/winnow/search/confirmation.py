"""Confirm the best settings of a search with fresh seeds on test data, in a normal study."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from winnow.search.search_result import SearchResult
from winnow.search.search_runner import Search
from winnow.studies.study_runner import run_study


def confirm(search: Search, result: SearchResult, console: Console) -> int:
    """Train the chosen settings, the baseline and a random control with fresh seeds, and compare them on test data.

    The declaration of the study contains the score of the search, so the report states the optimism of the search.

    Returns:
        The number of failed cells.
    """
    winner = result.winner
    assert winner is not None, "a search without a complete trial has no settings to confirm"
    cells = search.composer.compose_confirmation(winner.overrides, search.base.config.study.baseline)
    declaration = {
        "study": search.experiment_name,
        "objective": result.target.metric,
        "trials": len(result.trials),
        "seeds": len(result.scores[winner.number]),
        "score": result.compute_mean(winner),
        "settings": winner.overrides,
    }
    return run_study(cells, console, declaration)


def load_confirmed_comparison(result: SearchResult) -> dict[str, Any] | None:
    """Return the content of ``comparison.json`` of the confirmation, or ``None`` if there is none."""
    file = result.folder.parent / result.study / "comparison" / "comparison.json"
    if not file.exists():
        return None
    comparison: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return comparison
