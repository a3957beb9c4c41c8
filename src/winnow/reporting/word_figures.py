"""Pictures of single words: which rose and fell between two models, and how followed words fared in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.reporting.figures import GREY, Figure, Panel, Style, render

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import FigureBase

Shares = Mapping[str, float]
"""Words, each with its mean probability over prompts."""


def word_shift(before: Shares, after: Shares, most: int = 10) -> list[dict[str, Any]]:
    """Return the words that rose and those that fell most, by the difference of their probabilities.

    Only words that both know count, so models of different vocabularies can be set side by side.

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
        names: What the two models are called.
        look: A style for each model.
        folder: Where the files go.
    """
    if not shifts:
        return None
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, shift in enumerate(shifts):
            axes.plot([shift["before"], shift["after"]], [row, row], color=GREY, lw=1, zorder=1)
        for name, key in zip(names, ("before", "after"), strict=True):
            style = look[name]
            values = [shift[key] for shift in shifts]
            axes.plot(values, range(len(shifts)), style.marker, color=style.colour, ms=5.5, label=name, ls="none")
        turn = sum(shift["change"] > 0 for shift in shifts)
        if 0 < turn < len(shifts):
            axes.axhline(turn - 0.5, color=GREY, lw=0.8, ls=(0, (4, 3)))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(shifts)), [shift["word"] for shift in shifts])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("mean probability over prompts, on a logarithmic axis")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)

    caption = f"Words that rose (above the dashed line) and fell most from {names[0]} to {names[1]}."
    title = "Words that rose and fell most"
    return render("word_shift", caption, [Panel(title, draw, 5.4, 0.9 + 0.21 * len(shifts))], folder)


def draw_followed_words(
    curves: pd.DataFrame, probe: str, look: Mapping[str, Style], folder: Path, words: Sequence[str] = ()
) -> Figure | None:
    """Draw how the probability of words changed in training, wanted ones above, unwanted ones below.

    Args:
        curves: ``arm``, ``seed``, ``step``, ``probe``, ``metric`` (``probability``), ``value``, ``role`` and ``word``.
        probe: Whose prompts.
        look: A style for each arm; arms that are not in it are left out.
        folder: Where the files go.
        words: Words to draw; left out, the four of each role that moved most.
    """
    found = curves[(curves["probe"] == probe) & (curves["metric"] == "probability") & curves["arm"].isin(list(look))]
    found = found[found["role"].isin(["wanted", "unwanted"])]
    if found["step"].nunique() < 2:
        return None
    means = found.groupby(["role", "word", "arm", "step"])["value"].mean()
    chosen = {role: _chosen(means.loc[role], words) for role in ("wanted", "unwanted") if role in means.index}
    panels = [_word_panel(role, word, means.loc[role, word], look) for role, some in chosen.items() for word in some]
    caption = f"Mean probability of words over the prompts of {probe} and over seeds, from the base model (step 0) on."
    return render("followed_words", caption, panels, folder, columns=4) if panels else None


def _chosen(means: pd.Series, words: Sequence[str], most: int = 4) -> list[str]:
    known = list(dict.fromkeys(means.index.get_level_values("word")))
    if words:
        return [word for word in words if word in known]
    moved = np.log(means).groupby(level=["word", "arm"]).agg(lambda values: values.max() - values.min())
    return [str(word) for word in moved.groupby(level="word").max().nlargest(most).index]


def _word_panel(role: str, word: str, means: pd.Series, look: Mapping[str, Style]) -> Panel:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for arm, style in look.items():
            if arm in means.index:
                line = means.loc[arm]
                axes.plot(line.index, line, color=style.colour, ls=style.line, marker=style.marker, ms=3.5, label=arm)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(f"{word} ({role})")
        axes.set_xlabel("step")
        axes.legend(fontsize=7)

    return Panel(f"Probability of {word} over steps", draw, 2.9, 2.4)
