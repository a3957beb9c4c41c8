"""The pictures of `winnow evaluate`: models side by side, in the look of all reports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from winnow.reporting.figures import Figure, Style, styles
from winnow.reporting.fill_figures import draw_best_and_worst, draw_top_fills
from winnow.reporting.loss_curves import draw_losses
from winnow.reporting.prompt_figures import draw_heat_map, draw_score_over_steps
from winnow.reporting.structure_figure import draw_structure
from winnow.reporting.tables import save_table
from winnow.reporting.word_figures import draw_followed_words, draw_word_shift, word_shift

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class PromptScores(Protocol):
    """Scores of one model on the prompts of one probe."""

    @property
    def prompts(self) -> pa.Table:
        """One row per prompt and mask, with `prompt` and `log_odds`."""


class EvaluatedModel(Protocol):
    """What the figures need of one model; `Result` of `winnow evaluate` provides it."""

    @property
    def label(self) -> str:
        """Display name."""

    @property
    def probes(self) -> Mapping[str, PromptScores]:
        """Scores by probe."""

    @property
    def rankings(self) -> Mapping[str, Sequence[Any]]:
        """Ranked words of each mask, by prompt."""

    @property
    def words(self) -> Mapping[str, float]:
        """Mean probability by word."""

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The architecture in a few lines."""

    @property
    def history(self) -> Mapping[str, pd.DataFrame]:
        """`losses` and `curves` by step, where recorded."""


def draw_results(results: Sequence[EvaluatedModel], folder: Path) -> list[Figure]:
    """Draw all that the results have data for into a folder; the models keep their colours in every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    look = look_of([result.label for result in results])
    fills = _rankings(results)
    drawn = [
        draw_top_fills(fills, look, folder),
        draw_best_and_worst(fills, look, folder),
        *_heat_maps(results, folder),
        _shift(results, look, folder),
        *_over_steps(results, look, folder),
        *_structures(results, folder),
    ]
    return [figure for figure in drawn if figure is not None]


def look_of(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style for each model: those of baseline, filter and control first, then what is left."""
    roles = ("baseline", "filter", "control")
    return styles({label: roles[i] if i < len(roles) else "other" for i, label in enumerate(labels)})


def _rankings(results: Sequence[EvaluatedModel]) -> dict[str, dict[str, Any]]:
    """Return the rankings by prompt and model; each mask of a prompt with several stands alone."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        for text, masks in result.rankings.items():
            for mask, ranked in enumerate(masks, 1):
                title = text if len(masks) == 1 else f"{text} (mask {mask})"
                found.setdefault(title, {})[result.label] = ranked
    return found


def _heat_maps(results: Sequence[EvaluatedModel], folder: Path) -> list[Figure | None]:
    drawn = []
    for probe in results[0].probes:
        scores: dict[str, dict[str, float]] = {}
        for result in results:
            for row in result.probes[probe].prompts.select(["prompt", "log_odds"]).to_pylist():
                if row["log_odds"] is not None:
                    scores.setdefault(row["prompt"], {})[result.label] = row["log_odds"]
        drawn.append(draw_heat_map(scores, [result.label for result in results], probe, "log_odds", folder))
    return drawn


def _shift(results: Sequence[EvaluatedModel], look: Mapping[str, Style], folder: Path) -> Figure | None:
    """Draw and tabulate the words that rose and fell from the first model to the last."""
    if len(results) < 2:
        return None
    first, last = results[0], results[-1]
    shifts = word_shift(first.words, last.words)
    if shifts:
        save_table(shifts, folder.parent, "word_shift", f"Words that rose and fell from {first.label} to {last.label}.")
    return draw_word_shift(shifts, (first.label, last.label), look, folder)


def _over_steps(results: Sequence[EvaluatedModel], look: Mapping[str, Style], folder: Path) -> list[Figure | None]:
    losses, curves = (_joined(results, key) for key in ("losses", "curves"))
    drawn: list[Figure | None] = []
    if losses is not None:
        drawn.append(draw_losses(losses, look, folder))
    if curves is not None:
        drawn.append(draw_score_over_steps(curves, "log_odds", look, folder, "log_odds_over_steps"))
        widest = max(results[0].probes, key=lambda name: len(results[0].probes[name].prompts))
        drawn.append(draw_followed_words(curves, widest, look, folder))
    return drawn


def _joined(results: Sequence[EvaluatedModel], key: str) -> pd.DataFrame | None:
    import pandas as pd

    found = [result.history[key] for result in results if key in result.history]
    return pd.concat(found, ignore_index=True) if found else None


def _structures(results: Sequence[EvaluatedModel], folder: Path) -> list[Figure | None]:
    """Draw each structure once; most models of a study have the same."""
    seen: list[list[dict[str, Any]]] = []
    drawn = []
    for result in results:
        if result.parts not in seen:
            seen.append(result.parts)
            name = "structure" if len(seen) == 1 else f"structure_{re.sub(r'[^A-Za-z0-9.-]+', '_', result.label)}"
            drawn.append(draw_structure(result.label, result.parts, folder, name))
    return drawn
