"""The figures of `winnow evaluate`: models side by side, each with the same style in every figure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.reporting.bars import draw_best_and_worst, draw_top_fills
from winnow.reporting.curves import draw_followed_words, draw_losses, draw_scores_over_steps
from winnow.reporting.figures import Figure, Panel, name_rows, render
from winnow.reporting.style import GREY, INK, ROLES, Style, styles
from winnow.reporting.tables import save_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import FigureBase

MOST_ROWS = 40
"""Prompts that a heat map shows; of more, those on which the models differ most."""

PART_COLORS = {kind: ROLES[role].color for kind, role in zip(("embeddings", "layer", "head"), ROLES, strict=True)}


@dataclass(frozen=True)
class EvaluatedModel:
    """What one model scored, and what its figures need.

    Attributes:
        label: Display name.
        source: Where it was loaded from.
        run_id: The run that trained it, if it was named by its run.
        tokenizer: Fingerprint of its tokenizer.
        scores: Every metric by name.
        probes: Its `ProbeScores` by probe.
        rankings: For each readable prompt and each of its masks a long ranking of words.
        words: The mean probability of every word over the prompts with wanted and unwanted words.
        modules: Its modules with their shapes and parameters.
        parts: Its architecture from the input up: `part`, `kind` (`embeddings`, `layer` or `head`), `repeats`,
            `parameters` (of all repeats) and `shapes` in words.
        history: `losses` and `curves` by step, if recorded.
    """

    label: str
    source: str
    run_id: str | None
    tokenizer: str
    scores: dict[str, float]
    probes: Mapping[str, Any]
    rankings: Mapping[str, Sequence[Any]]
    words: Mapping[str, float]
    modules: list[dict[str, Any]]
    parts: list[dict[str, Any]]
    history: Mapping[str, pd.DataFrame]


def draw_models(models: Sequence[EvaluatedModel], folder: Path) -> list[Figure]:
    """Draw every figure that the models have data for into a folder, and a table of the words that moved beside it."""
    roles = [*ROLES, *["other"] * len(models)]
    look = styles(dict(zip([model.label for model in models], roles, strict=False)))
    fills = _rankings(models)
    drawn = [draw_top_fills(fills, look, folder), draw_best_and_worst(fills, look, folder)]
    drawn += [draw_heat_map(_prompt_scores(models, probe), list(look), probe, folder) for probe in models[0].probes]
    if len(models) > 1:
        shifts = word_shift(models[0].words, models[-1].words)
        names = models[0].label, models[-1].label
        if shifts:
            save_table(shifts, folder.parent, "word_shift", f"Words that rose and fell from {names[0]} to {names[1]}.")
        drawn.append(draw_word_shift(shifts, names, look, folder))
    if (losses := _joined(models, "losses")) is not None:
        drawn.append(draw_losses(losses, look, folder))
    if (curves := _joined(models, "curves")) is not None:
        drawn.append(draw_scores_over_steps(curves, look, folder))
        widest = max(models[0].probes, key=lambda name: len(models[0].probes[name].prompts))
        drawn.append(draw_followed_words(curves, widest, look, folder))
    drawn += _structures(models, folder)
    return [figure for figure in drawn if figure is not None]


def _rankings(models: Sequence[EvaluatedModel]) -> dict[str, dict[str, Any]]:
    """Return the rankings by prompt and model; each mask of a prompt with several has an entry of its own."""
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        for text, masks in model.rankings.items():
            for mask, ranked in enumerate(masks, 1):
                title = text if len(masks) == 1 else f"{text} (mask {mask})"
                found.setdefault(title, {})[model.label] = ranked
    return found


def _prompt_scores(models: Sequence[EvaluatedModel], probe: str) -> dict[str, dict[str, float]]:
    """Return the log odds of each prompt under each model."""
    scores: dict[str, dict[str, float]] = {}
    for model in models:
        for row in model.probes[probe].prompts.select(["prompt", "log_odds"]).to_pylist():
            if row["log_odds"] is not None:
                scores.setdefault(row["prompt"], {})[model.label] = row["log_odds"]
    return scores


def _joined(models: Sequence[EvaluatedModel], key: str) -> pd.DataFrame | None:
    import pandas as pd

    found = [model.history[key] for model in models if key in model.history]
    return pd.concat(found, ignore_index=True) if found else None


def _structures(models: Sequence[EvaluatedModel], folder: Path) -> list[Figure | None]:
    """Draw each structure once; most models of a study have the same."""
    drawn: list[Figure | None] = []
    for i, model in enumerate(models):
        if all(model.parts != other.parts for other in models[:i]):
            name = re.sub(r"[^A-Za-z0-9.-]+", "_", model.label)
            drawn.append(
                draw_structure(model.label, model.parts, folder, f"structure_{name}" if drawn else "structure")
            )
    return drawn


def draw_heat_map(
    scores: Mapping[str, Mapping[str, float]],
    models: Sequence[str],
    probe: str,
    folder: Path,
    metric: str = "log odds",
) -> Figure | None:
    """Draw a score of every prompt under every model as colors, purple above 0 and orange below.

    Args:
        scores: For each prompt the score of each model.
        models: The models, in the order of the columns.
        probe: Name of the prompts.
        folder: Where the files go.
        metric: Name of the score.
    """
    prompts = [prompt for prompt, by_model in scores.items() if all(model in by_model for model in models)]
    if not prompts:
        return None
    values = np.array([[scores[prompt][model] for model in models] for prompt in prompts])
    chosen = np.argsort(-np.ptp(values, axis=1), kind="stable")[:MOST_ROWS]
    chosen = chosen[np.argsort(-values[chosen].mean(axis=1), kind="stable")]
    values, labels = values[chosen], [textwrap.fill(prompts[i], 72) for i in chosen]

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
        figure.colorbar(image, ax=axes, label=metric, shrink=0.6)
        axes.set_title(probe)

    title = f"{metric} of each prompt of {probe} under each model"
    cut = f"; the {MOST_ROWS} of {len(scores)} prompts on which the models differ most" * (len(prompts) > MOST_ROWS)
    panel = Panel(title, draw, 6.4 + 0.8 * len(models), 1.3 + 0.2 * len(labels))
    return render(f"heat_map_{probe}", f"{title}{cut}.", [panel], folder)


def word_shift(before: Mapping[str, float], after: Mapping[str, float], most: int = 10) -> list[dict[str, Any]]:
    """Return the words that rose and those that fell most, by the difference of their mean probabilities.

    Only words that both models know count, so that models with different vocabularies can be compared.

    >>> [row["word"] for row in word_shift({"a": 0.5, "b": 0.2, "c": 0.1}, {"a": 0.1, "b": 0.3, "d": 1.0}, most=1)]
    ['b', 'a']
    """
    changes = {word: after[word] - before[word] for word in before if word in after}
    ranked = sorted(changes, key=lambda word: (-changes[word], word))
    rose = [word for word in ranked[:most] if changes[word] > 0]
    fell = [word for word in ranked[-most:] if changes[word] < 0]
    return [
        {"word": word, "before": before[word], "after": after[word], "change": changes[word]} for word in [*rose, *fell]
    ]


def draw_word_shift(
    shifts: Sequence[Mapping[str, Any]], names: tuple[str, str], look: Mapping[str, Style], folder: Path
) -> Figure | None:
    """Draw the words that rose and fell most from one model to another.

    Args:
        shifts: What :func:`word_shift` returned.
        names: The two models.
        look: The style of each model.
        folder: Where the files go.
    """
    if not shifts:
        return None

    def draw(figure: FigureBase) -> None:
        from matplotlib.ticker import FuncFormatter, NullFormatter

        axes = figure.subplots()
        rows = range(len(shifts))
        before, after = ([shift[key] for shift in shifts] for key in ("before", "after"))
        axes.hlines(rows, before, after, color=GREY, lw=1, zorder=1)
        for name, points in zip(names, (before, after), strict=True):
            axes.plot(points, rows, look[name].marker, color=look[name].color, ms=5.5, label=name)
        turn = sum(shift["change"] > 0 for shift in shifts)
        if 0 < turn < len(shifts):
            axes.axhline(turn - 0.5, color=GREY, lw=0.8, ls=(0, (4, 3)))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        name_rows(axes, [shift["word"] for shift in shifts])
        axes.set_xlabel("mean probability over prompts, on a logarithmic axis")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)

    caption = f"Words that rose (above the dashed line) and fell most from {names[0]} to {names[1]}."
    panel = Panel("Words that rose and fell most", draw, 5.4, 0.9 + 0.21 * len(shifts))
    return render("word_shift", caption, [panel], folder)


def draw_structure(
    name: str, parts: Sequence[Mapping[str, Any]], folder: Path, file: str = "structure"
) -> Figure | None:
    """Draw the parts of a model above one another, the input at the bottom, each with its share of the parameters.

    Args:
        name: Name of the model.
        parts: The attribute of :class:`EvaluatedModel`.
        folder: Where the files go.
        file: Name of the files.
    """
    if not parts:
        return None
    total = sum(part["parameters"] for part in parts)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, part in enumerate(parts):
            share, color = part["parameters"] / total, PART_COLORS[part["kind"]]
            axes.barh(row, share, height=0.66, color=color, alpha=0.28, lw=0)
            axes.barh(row, 1, height=0.66, color="none", edgecolor=color)
            times = f" x {part['repeats']}" if part["repeats"] > 1 else ""
            text = f"{part['part']}{times}: {part['parameters']:,} parameters ({share:.0%})"
            axes.text(0.5, row + 0.12, text, ha="center", va="center", fontsize=8.5, fontweight="bold")
            axes.text(0.5, row - 0.16, part["shapes"], ha="center", va="center", fontsize=7.5)
            if row:
                arrow = {"arrowstyle": "->", "color": INK, "lw": 0.9}
                axes.annotate("", (0.5, row - 0.33), (0.5, row - 0.67), arrowprops=arrow)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.5, len(parts) - 0.5)
        axes.set_axis_off()
        axes.set_title(f"{name}: {total:,} parameters")

    caption = f"The parts of {name}, the input below; the colored part of a box is its share of the parameters."
    return render(file, caption, [Panel(caption, draw, 5.4, 0.5 + 0.72 * len(parts))], folder)
