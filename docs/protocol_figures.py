"""Draws the pictures of `protocol.md` when run as a script."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

BLUE, ORANGE, GREEN, GRAY = "#0072b2", "#b86118", "#00664b", "#8a8a8a"
FOLDER = Path(__file__).parent / "figures"


def draw_arms(axes: Axes) -> None:
    """Draw the training rows of the three arms as stacks of squares."""
    rng = np.random.default_rng(1)
    kept = np.zeros(40, bool)
    kept[rng.choice(40, 12, replace=False)] = True
    random = np.zeros(40, bool)
    random[rng.choice(40, 12, replace=False)] = True
    arms = [("full (v1)\nall rows", np.ones(40, bool)), ("filtered (v2)\nrows that match", kept)]
    arms.append(("random control\nas many rows", random))
    for column, (label, selected) in enumerate(arms):
        for row in range(40):
            x, y = column * 6 + row % 5, row // 5
            color = ORANGE if kept[row] else BLUE
            axes.add_patch(
                Rectangle(
                    (x, y), 0.8, 0.8, facecolor=color if selected[row] else "none", edgecolor=color, linewidth=0.8
                )
            )
        axes.text(column * 6 + 2.4, -0.6, label, ha="center", va="top")
    axes.set(xlim=(-0.5, 17), ylim=(-3, 8.3), aspect="equal")
    axes.axis("off")


def draw_crossing(axes: Axes) -> None:
    """Draw a table of templates and products for two seeds: every cell is one prompt."""
    templates, products = ["X is very _", "people call X _", "the _ X"], ["shoes", "shirt", "cap", "socks"]
    for seed in range(2):
        left = seed * 6.4
        for row, template in enumerate(templates):
            for column in range(len(products)):
                color = (ORANGE, BLUE, GREEN)[row]
                axes.add_patch(Rectangle((left + column, row), 0.9, 0.9, facecolor=color, alpha=0.75))
            if seed == 0:
                axes.text(-0.2, row + 0.45, template, ha="right", va="center")
        for column, product in enumerate(products):
            axes.text(left + column + 0.45, 3.1, product, ha="left", va="bottom", rotation=40)
        axes.text(left + 1.95, -0.3, f"model of seed {seed + 1}", ha="center", va="top")
    axes.set(xlim=(-3.6, 10.8), ylim=(-1.2, 4.6), aspect="equal")
    axes.axis("off")


def draw_holm(axes: Axes) -> None:
    """Draw the p-values of four contrasts with the limits of Holm's procedure."""
    p_values = [0.004, 0.014, 0.031, 0.20]
    limits = [0.05 / (4 - rank) for rank in range(4)]
    accepted = True
    for rank, (p, limit) in enumerate(zip(p_values, limits, strict=True)):
        accepted = accepted and p <= limit
        axes.plot([limit, limit], [rank - 0.3, rank + 0.3], color=GRAY, linewidth=2)
        axes.plot(p, rank, "o" if accepted else "X", color=GREEN if accepted else ORANGE, markersize=9)
        text = f"p = {p:g}, limit {limit:.4f}: {'significant' if accepted else 'not significant'}"
        axes.text(0.3, rank, text, va="center")
    axes.set(xscale="log", xlim=(0.002, 7), ylim=(3.6, -0.6), yticks=[], xticks=[0.01, 0.1], xlabel="p-value")
    axes.set_xticklabels(["0.01", "0.1"])
    axes.minorticks_off()
    axes.spines["bottom"].set_bounds(0.002, 0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_margin(axes: Axes) -> None:
    """Draw four intervals of the cost against the margin."""
    cases = [
        (0.01, 0.025, "within the margin"),
        (0.04, 0.05, "unclear"),
        (0.14, 0.05, "worse than the margin"),
        (0.00, 0.09, "unclear: not significant, but not shown to be harmless"),
    ]
    axes.axvspan(-0.2, 0.05, color=GREEN, alpha=0.12, linewidth=0)
    axes.axvline(0.05, color=GREEN, linewidth=1.5)
    axes.axvline(0, color=GRAY, linewidth=0.8, linestyle="--")
    for row, (center, half, label) in enumerate(cases):
        axes.errorbar(center, row, xerr=half, fmt="o", color="black", capsize=4)
        axes.text(0.23, row, label, va="center")
    axes.set(xlim=(-0.12, 0.72), ylim=(3.7, -0.9), yticks=[], xticks=[0, 0.05, 0.1, 0.2])
    axes.set_xlabel("cost: loss of v2 minus loss of v1 (nats per masked token)", loc="left")
    axes.spines["bottom"].set_bounds(-0.12, 0.2)
    axes.text(0.05, -0.75, " margin", color=GREEN, va="center")
    axes.spines[["top", "right", "left"]].set_visible(False)


def main() -> None:
    """Write one SVG file for each picture."""
    plt.rcParams.update({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "winnow"})
    FOLDER.mkdir(exist_ok=True)
    sizes = {"arms": (6, 3.6), "crossing": (6.4, 3.0), "holm": (6.4, 2.2), "margin": (6.4, 2.4)}
    for name, size in sizes.items():
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        globals()[f"draw_{name}"](axes)
        figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
