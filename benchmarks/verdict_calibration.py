"""Type I error, coverage and power of the comparison, on simulated studies and on real trainings.

    python benchmarks/verdict_calibration.py --json benchmarks/results/verdict-calibration.json

`type_1` is the share of studies without a difference in which one is found, `coverage` the share of 95% intervals that
hold the true difference, `power` the share of true differences that are found. These three are simulated over a grid of
seeds and prompts for independent items, under variances of several kinds; one kind is estimated from real trainings,
which `winnow train` makes unless the folder holds them (40 small ones, two seconds each). `worst` has the worst cells.
`clustered`, `blocked`, `looks` and `guard` are simulated in `clustered_studies.py`, with prompts that share templates
and slot fillings. `a_a` takes 20 real trainings of one arm, splits them under two names in many ways, and counts the
splits that are found to differ. Each simulated cell is first checked against `winnow.comparison.contrast` itself.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from clustered_studies import blocked, clustered, guarded, looks
from clustered_studies import check as check_clustered
from winnow.comparison import (
    CollectedStudy,
    VarianceComponents,
    collect_study,
    compute_power,
    estimate_variance_components,
    seeds_needed,
)
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.metric_scores import build_score_table
from winnow.comparison.statistics import contrast_crossed_scores
from winnow.metrics import Metric
from winnow.tracking.environment import hardware

Array = NDArray[np.float64]

SEEDS, PROMPTS, ALPHA, BATCH = (5, 8), (5, 24, 200), 0.05, 500
PRIMARY, LOSS = Metric("probe/nike_wide/log_odds"), Metric("test/all/loss")
SMALL = [
    "study.name=calibration",
    "study.compare=false",
    "dataset.source.rows=6000",
    "model.layers=1",
    "model.hidden_size=64",
    "training.max_steps=60",
    "training.batch_size=32",
    "training.validate_every_steps=60",
    "evaluation.max_rows=200",
]
SWEEP = ["filter=full,nike_positive", "seed=range(1,21)"]


@dataclass(frozen=True)
class World:
    """What a simulated score is made of: standard deviations of its effects, and the shape of their distribution."""

    seed_a: float
    seed_b: float
    item: float
    error_a: float
    error_b: float
    tails: str = "normal"


WORLDS = {
    "prompt x arm": World(0.2, 0.2, 0.42, 0.3, 0.3),
    "prompt x arm alone": World(0.02, 0.02, 0.6, 0.1, 0.1),
    "seeds alone": World(0.2, 0.2, 0.0, 0.3, 0.3),
    "unequal variances": World(0.1, 0.4, 0.3, 0.15, 0.6),
    "heavy tails": World(0.2, 0.2, 0.42, 0.3, 0.3, "t3"),
    "heavy tails, unequal": World(0.1, 0.4, 0.3, 0.15, 0.6, "t3"),
}
BEYOND = {"skewed": World(0.2, 0.2, 0.42, 0.3, 0.3, "exponential")}
"""A world harsher than those that goals are set for; its cells are told and not judged."""


def main() -> None:
    """Simulate, train what is missing, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=10_000, help="simulated studies per cell; at least 1,000")
    parser.add_argument("--folder", type=Path, default=Path("outputs-calibration"), help="where the real runs are kept")
    options = parser.parse_args()
    begun = time.process_time()
    study = trained(options.folder)
    table = build_score_table(study, PRIMARY, "nike_positive", "full")
    structured = estimate_variance_components(table, "nike_positive", "full")
    real = estimate_variance_components(without_structure(table), "nike_positive", "full")
    check_clustered()
    worlds = WORLDS | {"real runs": world_of(real)}
    cells = dict(grid(worlds, options.studies))
    beyond = dict(grid(BEYOND, options.studies))
    found: dict[str, Any] = {
        "studies_a_cell": options.studies,
        "type_1": {name: cell["type_1"] for name, cell in cells.items()},
        "coverage": {name: cell["coverage"] for name, cell in cells.items()},
        "power": powers(real, options.studies),
        "worst": {
            "type_1": max(cell["type_1"] for cell in cells.values()),
            "coverage": min(cell["coverage"] for cell in cells.values()),
        },
        "clustered": clustered(10 * options.studies),
        "blocked": blocked(10 * options.studies),
        "looks": looks(options.studies),
        "guard": guarded(10 * options.studies),
        "a_a": {
            f"{arm}, {metric.name}": splits(study, metric, arm)
            for arm in ("full", "nike_positive")
            for metric in (PRIMARY, LOSS)
        },
        "real_runs": {
            "study": "winnow train -m " + " ".join([*SWEEP, *SMALL]),
            "contrast": "nike_positive - full",
            "metric": PRIMARY.name,
            "components": asdict(real),
            "components_by_factor": asdict(structured),
        },
        "worlds": {name: asdict(world) for name, world in (worlds | BEYOND).items()},
        "verdict": verdict(cells, options.studies),
        "beyond": beyond,
        "hardware": hardware(),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    told = {key: found[key] for key in ("verdict", "worst", "a_a", "cpu_seconds")}
    told |= {f"clustered.{key}": found["clustered"][key] for key in ("type_1", "coverage", "power")}
    told |= {"blocked.type_1": found["blocked"]["type_1"], "looks.type_1": found["looks"]["type_1"]}
    print(json.dumps(told | {"guard.false_pass": found["guard"]["false_pass"]}, indent=2))


def trained(folder: Path) -> CollectedStudy:
    """Return the study of real trainings, which `winnow train` makes or finds finished."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "winnow.cli", "train", "-m", *SWEEP, *SMALL]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    return collect_study(f"sqlite:///{(folder / 'outputs/mlflow.db').resolve()}", "calibration")


def without_structure(table: pd.DataFrame) -> pd.DataFrame:
    """Return scores of which nothing is known about which items are alike."""
    return table[[name for name in table.columns if ":" not in str(name)]]


def world_of(found: VarianceComponents) -> World:
    """Return a world with the variances of real runs."""
    return World(*(float(np.sqrt(v)) for v in (found.seed_a, found.seed_b, found.item, found.error_a, found.error_b)))


def draw(rng: np.random.Generator, world: World, studies: int, seeds: int, prompts: int) -> tuple[Array, Array]:
    """Return two arms' scores without a true difference, each studies x seeds x prompts.

    What all arms share of a prompt is left out: it cancels in every term of the procedure.
    """

    def noise(*shape: int) -> Array:
        if world.tails == "t3":
            return rng.standard_t(3, shape) / np.sqrt(3)
        return rng.exponential(1, shape) - 1 if world.tails == "exponential" else rng.standard_normal(shape)

    sides = []
    for seed, error in ((world.seed_a, world.error_a), (world.seed_b, world.error_b)):
        own = world.item / np.sqrt(2) * noise(studies, 1, prompts)
        sides.append(own + seed * noise(studies, seeds, 1) + error * noise(studies, seeds, prompts))
    return sides[0], sides[1]


def judged(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Return difference, half width of the 95% interval and p of many studies at once, as `contrast` works them out."""
    seeds, prompts = a.shape[1:]
    means = [side.mean(axis=2) for side in (a, b)]
    difference = means[0].mean(axis=1) - means[1].mean(axis=1)
    between = [m.var(axis=1, ddof=1) / seeds for m in means]
    item = (a.mean(axis=1) - b.mean(axis=1)).var(axis=1, ddof=1) / prompts
    error_df = (seeds - 1) * (prompts - 1)
    errors = []
    for side, mean in zip((a, b), means, strict=True):
        residual = side - side.mean(axis=1, keepdims=True) - (mean - mean.mean(axis=1, keepdims=True))[:, :, None]
        errors.append(np.square(residual).sum(axis=(1, 2)) / error_df / seeds / prompts)
    seed_squares = sum(v**2 for v in between) / (seeds - 1)
    item_squares = item**2 / (prompts - 1)
    whole = sum(between) + item - sum(errors)
    variances = np.stack([whole, sum(between), item])
    squares = np.stack([seed_squares + item_squares + sum(v**2 for v in errors) / error_df, seed_squares, item_squares])
    rule = variances.argmax(axis=0)[None]
    variance = np.take_along_axis(variances, rule, 0)[0]
    df = variance**2 / np.take_along_axis(squares, rule, 0)[0]
    error = np.sqrt(variance)
    return difference, t.ppf(1 - ALPHA / 2, df) * error, 2 * t.sf(np.abs(difference) / error, df)


def check(a: Array, b: Array) -> None:
    """Stop where the vectorised procedure and the library's differ."""
    difference, half, p = judged(a, b)
    for i in range(min(10, len(a))):
        found = contrast_crossed_scores(CrossedScores("a", "b", a[i], b[i], np.ones(a.shape[2])))
        ours = [difference[i], difference[i] - half[i], difference[i] + half[i], p[i]]
        np.testing.assert_allclose(ours, [found.difference, found.ci_low, found.ci_high, found.p_value], rtol=1e-9)


def rate(
    rng: np.random.Generator, world: World, studies: int, seeds: int, prompts: int, truth: float = 0.0
) -> tuple[float, float]:
    """Return the share of studies in which a difference is found, and the share whose interval holds the true one."""
    rejected = covered = 0
    for start in range(0, studies, BATCH):
        a, b = draw(rng, world, min(BATCH, studies - start), seeds, prompts)
        if start == 0:
            check(a, b)
        difference, half, p = judged(a + truth, b)
        rejected += int((p <= ALPHA).sum())
        covered += int((np.abs(difference - truth) <= half).sum())
    return rejected / studies, covered / studies


def grid(worlds: dict[str, World], studies: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield type I error and coverage of each cell; with no true difference one is the other's complement."""
    rng = np.random.default_rng(2026)
    for name, world in worlds.items():
        for seeds in SEEDS:
            for prompts in PROMPTS:
                type_1, _ = rate(rng, world, studies, seeds, prompts)
                _, coverage = rate(rng, world, studies, seeds, prompts, truth=0.5)
                yield f"{name}, {seeds} seeds, {prompts} prompts", {"type_1": type_1, "coverage": coverage}


def verdict(cells: dict[str, dict[str, float]], studies: int) -> dict[str, Any]:
    """Set the worst cells against what is asked for; type I error may exceed 5% by sampling error.

    That is 3 standard errors, which is where the largest of so many cells lies by chance.
    """
    slack = 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    many = {name: cell["coverage"] for name, cell in cells.items() if ", 5 prompts" not in name}
    few = {name: cell["coverage"] for name, cell in cells.items() if ", 5 prompts" in name}
    type_1 = {name: cell["type_1"] for name, cell in cells.items()}
    return {
        "cells": len(cells),
        "sampling_error": slack,
        "largest_type_1": extreme(type_1, max),
        "type_1_at_most_0.05": max(type_1.values()) <= ALPHA + slack,
        "least_coverage_from_24_prompts": extreme(many, min),
        "largest_coverage_from_24_prompts": extreme(many, max),
        "coverage_0.93_to_0.97_from_24_prompts": min(many.values()) >= 0.93 and max(many.values()) <= 0.97,
        "least_coverage_below": extreme(few, min),
        "coverage_at_least_0.93_below": min(few.values()) >= 0.93,
    }


def extreme(found: dict[str, float], which: Any) -> dict[str, float]:
    """Return the cell with the least or the largest value."""
    name = which(found, key=lambda key: found[key])
    return {name: found[name]}


def powers(real: VarianceComponents, studies: int) -> dict[str, Any]:
    """Return planned and simulated power under the variances of real runs, also at the seeds planned for 0.8."""
    rng, world, found = np.random.default_rng(7), world_of(real), {}
    for prompts in (24, 200):
        for size in (0.25, 0.5, 1.0):
            planned = seeds_needed(VarianceComponents(**(asdict(real) | {"items": prompts})), size)
            sizes = [*SEEDS, *([planned] if planned and planned <= 60 else [])]
            found[f"difference {size}, {prompts} prompts"] = {
                "seeds_planned_for_0.8": planned,
                **{
                    f"{seeds} seeds": {
                        "planned": compute_power(real, size, seeds, prompts),
                        "found": rate(rng, world, studies, seeds, prompts, truth=size)[0],
                    }
                    for seeds in dict.fromkeys(sizes)
                },
            }
    return found


def splits(study: CollectedStudy, metric: Metric, arm: str, ways: int = 2000) -> dict[str, float]:
    """Return the share of splits of one arm's 20 real trainings that are told to differ."""
    rng = np.random.default_rng(1)
    table = build_score_table(study, metric, arm)
    wide = table.pivot(index="seed", columns="item", values="score").to_numpy()
    items = table.drop_duplicates("item").set_index("item").sort_index()
    weights = items["weight"].to_numpy() if "weight" in table else np.ones(wide.shape[1])
    factors = {str(name): items[name].tolist() for name in items.columns if str(name).startswith("factor:")}
    found = {"seeds": float(len(wide)), "items": float(wide.shape[1]), "ways": float(ways)}
    for size in (5, 8, 10):
        rejected = 0
        for _ in range(ways):
            order = rng.permutation(len(wide))[: 2 * size]
            half = CrossedScores(
                "a", "b", wide[order[:size]], wide[order[size:]], weights / weights.mean(), factors=factors
            )
            rejected += int(contrast_crossed_scores(half).p_value <= ALPHA)
        found[f"{size} against {size}"] = rejected / ways
    return found


if __name__ == "__main__":
    main()
