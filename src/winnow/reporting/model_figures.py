"""Draw the figures of ``winnow evaluate``, in which each model has the same style throughout."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.reporting.bar_charts import draw_best_and_worst, draw_top_fills
from winnow.reporting.figure_rendering import Figure, Panel, render_figure
from winnow.reporting.plot_style import ROLE_STYLES, TEXT_COLOR, assign_styles
from winnow.reporting.probability_shifts import compute_word_shifts, draw_word_shift
from winnow.reporting.table_rendering import save_table
from winnow.reporting.training_curves import draw_losses, draw_scores_over_steps, draw_tracked_words
from winnow.untrusted_text import sanitize_file_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import FigureBase

MAX_HEAT_MAP_ROWS = 40
"""Maximum number of prompts in a heat map. Prompts whose scores differ most between models are selected."""

COMPONENT_COLORS = {
    kind: ROLE_STYLES[role].color for kind, role in zip(("embeddings", "layer", "head"), ROLE_STYLES, strict=True)
}


@dataclass(frozen=True)
class EvaluatedModel:
    """The scores of one model and the data for its figures.

    Attributes:
        label: Display name.
        source: Folder, run or Hub name that the model was loaded from.
        run_id: The id of the run that trained the model, or `None` if the model was not specified by a run.
        tokenizer: Fingerprint of the model's tokenizer.
        scores: All metrics by name.
        probes: The model's `ProbeScores` by probe.
        rankings: One long ranking of words for each mask, by prompt.
        word_probabilities: Mean probability of every word over the prompts that have wanted and unwanted words.
        modules: The name, shapes and parameter count of each module.
        components: Architecture from input to output: ``part``, ``kind`` (``embeddings``, ``layer`` or ``head``),
            ``repeats``, ``parameters`` (across all repeats) and a description of the ``shapes``.
        history: ``losses`` and ``curves`` by step, if available.
    """

    label: str
    source: str
    run_id: str | None
    tokenizer: str
    scores: dict[str, float]
    probes: Mapping[str, Any]
    rankings: Mapping[str, Sequence[Any]]
    word_probabilities: Mapping[str, float]
    modules: list[dict[str, Any]]
    components: list[dict[str, Any]]
    history: Mapping[str, pd.DataFrame]


def draw_models(models: Sequence[EvaluatedModel], folder: Path) -> list[Figure]:
    """Draw all figures for which the models have data, and save a table of word shifts in the parent of ``folder``."""
    roles = [*ROLE_STYLES, *["other"] * len(models)]
    styles = assign_styles(dict(zip([model.label for model in models], roles, strict=False)))
    fills = _group_rankings(models)
    figures = [draw_top_fills(fills, styles, folder), draw_best_and_worst(fills, styles, folder)]
    figures += [
        draw_heat_map(_collect_log_odds(models, probe), list(styles), probe, folder) for probe in models[0].probes
    ]
    if len(models) > 1:
        shifts = compute_word_shifts(models[0].word_probabilities, models[-1].word_probabilities)
        names = models[0].label, models[-1].label
        if shifts:
            save_table(
                shifts,
                folder.parent,
                "word_shift",
                f"Words whose probability rose or fell most from {names[0]} to {names[1]}.",
            )
        figures.append(draw_word_shift(shifts, names, styles, folder))
    if (losses := _concatenate_history(models, "losses")) is not None:
        figures.append(draw_losses(losses, styles, folder))
    if (curves := _concatenate_history(models, "curves")) is not None:
        figures.append(draw_scores_over_steps(curves, styles, folder))
        largest_probe = max(models[0].probes, key=lambda name: len(models[0].probes[name].summarized_prompts))
        figures.append(draw_tracked_words(curves, largest_probe, styles, folder))
    figures += _draw_structures(models, folder)
    return [figure for figure in figures if figure is not None]


def _group_rankings(models: Sequence[EvaluatedModel]) -> dict[str, dict[str, Any]]:
    """Return the rankings by prompt and model, with a separate entry for each mask of a prompt."""
    rankings: dict[str, dict[str, Any]] = {}
    for model in models:
        for text, masks in model.rankings.items():
            for mask, ranking in enumerate(masks, 1):
                title = text if len(masks) == 1 else f"{text} (mask {mask})"
                rankings.setdefault(title, {})[model.label] = ranking
    return rankings


def _collect_log_odds(models: Sequence[EvaluatedModel], probe: str) -> dict[str, dict[str, float]]:
    """Return the log odds of each prompt for each model."""
    scores: dict[str, dict[str, float]] = {}
    for model in models:
        for row in model.probes[probe].summarized_prompts.select(["prompt", "log_odds"]).to_pylist():
            if row["log_odds"] is not None:
                scores.setdefault(row["prompt"], {})[model.label] = row["log_odds"]
    return scores


def _concatenate_history(models: Sequence[EvaluatedModel], key: str) -> pd.DataFrame | None:
    import pandas as pd

    histories = [model.history[key] for model in models if key in model.history]
    return pd.concat(histories, ignore_index=True) if histories else None


def _draw_structures(models: Sequence[EvaluatedModel], folder: Path) -> list[Figure | None]:
    """Draw each distinct structure once, because the models of a study usually have the same structure."""
    figures: list[Figure | None] = []
    for i, model in enumerate(models):
        if all(model.components != earlier_model.components for earlier_model in models[:i]):
            name = sanitize_file_name(model.label)
            figures.append(
                draw_structure(model.label, model.components, folder, f"structure_{name}" if figures else "structure")
            )
    return figures


def draw_heat_map(
    scores: Mapping[str, Mapping[str, float]],
    models: Sequence[str],
    probe: str,
    folder: Path,
    metric: str = "log odds",
) -> Figure | None:
    """Draw a heat map of a score for every prompt and model, purple above 0 and orange below.

    Args:
        scores: Score of each model, by prompt.
        models: Models in column order.
        probe: Name of the probe.
        folder: Output folder.
        metric: Name of the score.
    """
    prompts = [prompt for prompt, by_model in scores.items() if all(model in by_model for model in models)]
    if not prompts:
        return None
    values = np.array([[scores[prompt][model] for model in models] for prompt in prompts])
    row_order = np.argsort(-np.ptp(values, axis=1), kind="stable")[:MAX_HEAT_MAP_ROWS]
    row_order = row_order[np.argsort(-values[row_order].mean(axis=1), kind="stable")]
    values, labels = values[row_order], [textwrap.fill(prompts[i], 72) for i in row_order]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        bound = max(float(np.abs(values).max()), 1e-9)
        image = axes.imshow(values, aspect="auto", cmap="PuOr", vmin=-bound, vmax=bound)
        for (row, column), value in np.ndenumerate(values):
            color = "white" if abs(value) > 0.6 * bound else "black"
            text = f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        axes.set_xticks(range(len(models)), models, rotation=20, ha="right")
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        figure.colorbar(image, ax=axes, label=f"{metric} (nats)" if metric == "log odds" else metric, shrink=0.6)
        axes.set_title(probe)

    title = f"{metric.capitalize()} of each prompt of {probe}, by model"
    note = f". Only the {MAX_HEAT_MAP_ROWS} of {len(scores)} prompts with the largest differences are drawn" * (
        len(prompts) > MAX_HEAT_MAP_ROWS
    )
    panel = Panel(title, draw, 6.4 + 0.8 * len(models), 1.3 + 0.2 * len(labels))
    return render_figure(f"heat_map_{probe}", f"{title}{note}.", [panel], folder)


def draw_structure(
    name: str, components: Sequence[Mapping[str, Any]], folder: Path, file: str = "structure"
) -> Figure | None:
    """Draw the components of a model from input (bottom) to output (top), with their fractions of the parameters.

    Args:
        name: Name of the model.
        components: ``components`` of an :class:`EvaluatedModel`.
        folder: Output folder.
        file: Name of the files.
    """
    if not components:
        return None
    total = sum(component["parameters"] for component in components)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, component in enumerate(components):
            fraction, color = component["parameters"] / total, COMPONENT_COLORS[component["kind"]]
            axes.barh(row, fraction, height=0.66, color=color, alpha=0.28, lw=0)
            axes.barh(row, 1, height=0.66, color="none", edgecolor=color)
            times = f" x {component['repeats']}" if component["repeats"] > 1 else ""
            text = f"{component['part']}{times}: {component['parameters']:,} parameters ({fraction:.0%})"
            axes.text(0.5, row + 0.12, text, ha="center", va="center", fontsize=8.5, fontweight="bold")
            axes.text(0.5, row - 0.16, component["shapes"], ha="center", va="center", fontsize=7.5)
            if row:
                arrow = {"arrowstyle": "->", "color": TEXT_COLOR, "lw": 0.9}
                axes.annotate("", (0.5, row - 0.33), (0.5, row - 0.67), arrowprops=arrow)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.5, len(components) - 0.5)
        axes.set_axis_off()
        axes.set_title(f"{name}: {total:,} parameters")

    title = f"Components of {name}, from input (bottom) to output (top)"
    caption = f"{title}. The filled area of a box shows its fraction of the parameters."
    return render_figure(file, caption, [Panel(title, draw, 5.4, 0.5 + 0.72 * len(components))], folder)
