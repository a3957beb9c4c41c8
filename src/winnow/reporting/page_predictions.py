"""Collect the predicted words of every prompt for the script of the comparison page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.prompt_predictions import (
    BASE_MODEL_KEY,
    Fills,
    collect_word_roles,
    compute_mean_prompt_scores,
    sort_by_change,
)
from winnow.formatting import MINUS_SIGN, format_number
from winnow.metrics.metric_names import parse_metric_name

TOP_WORDS = 10
"""The page shows this number of words per prompt and arm, or all recorded words that the probe lists."""


def collect_predictions(
    study: CollectedStudy,
    fills: Mapping[str, dict[str, Fills]],
    marks: Mapping[str, Mapping[str, str]],
    versions: Mapping[Any, str],
) -> dict[str, Any]:
    """Return the predictions of each arm by probe and prompt, the scores of the prompts, and the listed words.

    The probe of the primary metric is first. Its prompts are sorted by the change from the baseline to the filter.

    Args:
        study: The study.
        fills: The predicted words by probe and prompt.
        marks: The sign and the color of each arm.
        versions: The description of each arm.
    """
    declaration = study.declaration
    primary = parse_metric_name(declaration.primary_metric).scope
    compared = declaration.baseline, declaration.filter or declaration.baseline
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for (probe, prompt), by_arm in compute_mean_prompt_scores(study).items():
        scores.setdefault(probe, {})[prompt] = by_arm
    roles = collect_word_roles(study)
    return {
        "baseline": declaration.baseline,
        "top": TOP_WORDS,
        "roles": {probe: roles.get(probe, {}) for probe in fills},
        "arms": {
            arm: {
                "sign": marks[arm]["sign"] if arm in marks else "",
                "tint": f"var(--c{marks[arm]['color'][1:].lower()})" if arm in marks else "var(--soft)",
                "description": versions.get(arm, ""),
            }
            for arm in (BASE_MODEL_KEY, *study.arms)
        },
        "probes": {
            probe: [
                _describe_prompt(prompt, by_arm, scores.get(probe, {}).get(prompt, {}), roles.get(probe, {}), compared)
                for prompt, by_arm in sort_by_change(fills[probe], scores.get(probe, {}), compared).items()
            ]
            for probe in sorted(fills, key=lambda name: name != primary)
        },
    }


def _describe_prompt(
    prompt: str, by_arm: Fills, scores: Mapping[str, float], roles: Mapping[str, str], compared: tuple[str, str]
) -> dict[str, Any]:
    """Return the top words and the listed words of each arm, and the change of the prompt's log odds."""
    before, after = (scores.get(arm) for arm in compared)
    change = "" if before is None or after is None else format_number(after - before)
    return {
        "prompt": prompt,
        "change": change if not change or change.startswith(MINUS_SIGN) else f"+{change}",
        "arms": {
            arm: [
                (word, round(probability, 5))
                for rank, (word, probability) in enumerate(words)
                if rank < TOP_WORDS or word in roles
            ]
            for arm, words in by_arm.items()
        },
        "scores": {arm: f"log odds {format_number(score)}" for arm, score in scores.items()},
    }
