"""Measure type I error, coverage and power of the comparison on simulated studies and on real training runs.

    python benchmarks/verdict_calibration.py --json benchmarks/results/verdict-calibration.json

The JSON file holds:

- `type_1`: the fraction of studies without a true difference that report one.
- `coverage`: the fraction of 95% intervals that contain the true difference.
- `power`: the fraction of studies that detect a true difference.
- `worst`: the largest type I error and the smallest coverage.
- `clustered`, `blocked`, `looks` and `guard`: simulations in which prompts share templates and slot fillings; see
  `clustered_studies.py` and `interim_look_studies.py`.
- `a_a`: A/A tests: 40 real runs of one arm are split into two groups in many ways, and the splits that differ
  significantly are counted for each endpoint; see `a_a_tests.py`.

The first three are simulated for independent items over a grid of seeds and prompts, under several variance structures.
One of them is estimated from real training runs (12 CPU seconds each), which `winnow train` starts unless the folder
already contains them: 40 of `full` and 10 of `nike_positive`. They use the demo's corpus and probe and a shorter
recipe. Each simulated setting is first checked against `winnow.comparison.contrast`.
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

from a_a_tests import check as check_a_a_tests
from a_a_tests import run_a_a_tests
from clustered_studies import blocked, clustered, guarded
from clustered_studies import check as check_clustered
from interim_look_studies import check as check_looks
from interim_look_studies import looks
from winnow.comparison import (
    CollectedStudy,
    VarianceComponents,
    collect_study,
    compute_power,
    estimate_variance_components,
    seeds_needed,
)
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.metric_scores import build_score_table
from winnow.metrics import Metric
from winnow.tracking.run_environment import describe_hardware

Array = NDArray[np.float64]

SEEDS, PROMPTS, ALPHA, BATCH = (5, 8), (5, 24, 200), 0.05, 500
PRIMARY = Metric("probe/nike_wide/log_odds")
RECIPE = [
    "study.name=calibration",
    "study.compare=false",
    "probe=[nike_wide]",
    "dataset.source.rows=6000",
    "model.layers=1",
    "model.dropout=0",
    "optimizer.lr=3e-3",
    "optimizer.betas=[0.9,0.98]",
    "masking.rate=0.3",
    "training.max_steps=400",
    "training.validate_every_steps=400",
    "evaluation.max_rows=600",
]
"""The demo's recipe with fewer rows, one layer and fewer steps."""
SWEEPS = (["filter=full", "seed=range(1,41)"], ["filter=nike_positive", "seed=range(1,11)"])


@dataclass(frozen=True)
class VarianceSetting:
    """The standard deviations of the effects in a simulated score, and the shape of their distribution."""

    seed_a: float
    seed_b: float
    item: float
    error_a: float
    error_b: float
    tails: str = "normal"


SETTINGS = {
    "prompt x arm": VarianceSetting(0.2, 0.2, 0.42, 0.3, 0.3),
    "prompt x arm alone": VarianceSetting(0.02, 0.02, 0.6, 0.1, 0.1),
    "seeds alone": VarianceSetting(0.2, 0.2, 0.0, 0.3, 0.3),
    "unequal variances": VarianceSetting(0.1, 0.4, 0.3, 0.15, 0.6),
    "heavy tails": VarianceSetting(0.2, 0.2, 0.42, 0.3, 0.3, "t3"),
    "heavy tails, unequal": VarianceSetting(0.1, 0.4, 0.3, 0.15, 0.6, "t3"),
}
HARDER_SETTINGS = {"skewed": VarianceSetting(0.2, 0.2, 0.42, 0.3, 0.3, "exponential")}
"""A harder setting without a goal; its results are reported but not compared with goals."""


def main() -> None:
    """Run the missing training runs and all simulations, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=10_000, help="simulated studies per setting; at least 1,000")
    parser.add_argument(
        "--folder", type=Path, default=Path("outputs-calibration"), help="folder of the real training runs"
    )
    options = parser.parse_args()
    start = time.process_time()
    study = run_training(options.folder)
    table = build_score_table(study, PRIMARY, "nike_positive", "full")
    structured = estimate_variance_components(table, "nike_positive", "full")
    real = estimate_variance_components(drop_structure(table), "nike_positive", "full")
    check_clustered()
    check_looks()
    check_a_a_tests(study, "full")
    settings = SETTINGS | {"real runs": to_setting(real)}
    cells = dict(simulate_grid(settings, options.studies))
    beyond = dict(simulate_grid(HARDER_SETTINGS, options.studies))
    results: dict[str, Any] = {
        "studies_a_cell": options.studies,
        "type_1": {name: cell["type_1"] for name, cell in cells.items()},
        "coverage": {name: cell["coverage"] for name, cell in cells.items()},
        "power": simulate_power(real, options.studies),
        "worst": {
            "type_1": max(cell["type_1"] for cell in cells.values()),
            "coverage": min(cell["coverage"] for cell in cells.values()),
        },
        "clustered": clustered(10 * options.studies),
        "blocked": blocked(10 * options.studies),
        "looks": looks(options.studies),
        "guard": guarded(10 * options.studies),
        "a_a": run_a_a_tests(study, "full"),
        "real_runs": {
            "studies": ["winnow train -m " + " ".join([*sweep, *RECIPE]) for sweep in SWEEPS],
            "contrast": "nike_positive - full",
            "metric": PRIMARY.name,
            "components": asdict(real),
            "components_by_factor": asdict(structured),
        },
        "worlds": {name: asdict(setting) for name, setting in (settings | HARDER_SETTINGS).items()},
        "verdict": compare_with_goals(cells, options.studies),
        "beyond": beyond,
        "hardware": describe_hardware(),
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    summary = {key: results[key] for key in ("verdict", "worst", "a_a", "cpu_seconds")}
    summary |= {f"clustered.{key}": results["clustered"][key] for key in ("type_1", "coverage", "power")}
    summary |= {"blocked.type_1": results["blocked"]["type_1"], "looks.type_1": results["looks"]["type_1"]}
    print(json.dumps(summary | {"guard.false_pass": results["guard"]["false_pass"]}, indent=2))


def run_training(folder: Path) -> CollectedStudy:
    """Run the real training runs, unless they are finished, and return their study."""
    folder.mkdir(parents=True, exist_ok=True)
    for sweep in SWEEPS:
        command = [sys.executable, "-m", "winnow.cli", "train", "-m", *sweep, *RECIPE]
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    return collect_study(f"sqlite:///{(folder / 'outputs/mlflow.db').resolve()}", "calibration")


def drop_structure(table: pd.DataFrame) -> pd.DataFrame:
    """Return scores without their factors and clusters, so that items count as independent."""
    return table[[name for name in table.columns if ":" not in str(name)]]


def to_setting(components: VarianceComponents) -> VarianceSetting:
    """Return a setting with the variances of real runs."""
    return VarianceSetting(
        *(
            float(np.sqrt(v))
            for v in (components.seed_a, components.seed_b, components.item, components.error_a, components.error_b)
        )
    )


def draw_scores(
    rng: np.random.Generator, setting: VarianceSetting, studies: int, seeds: int, prompts: int
) -> tuple[Array, Array]:
    """Return the scores of two arms without a true difference, each of shape (studies, seeds, prompts).

    The effect of a prompt that all arms share is omitted, because it cancels in every term.
    """

    def noise(*shape: int) -> Array:
        if setting.tails == "t3":
            return rng.standard_t(3, shape) / np.sqrt(3)
        return rng.exponential(1, shape) - 1 if setting.tails == "exponential" else rng.standard_normal(shape)

    arms = []
    for seed, error in ((setting.seed_a, setting.error_a), (setting.seed_b, setting.error_b)):
        prompt_effect = setting.item / np.sqrt(2) * noise(studies, 1, prompts)
        arms.append(prompt_effect + seed * noise(studies, seeds, 1) + error * noise(studies, seeds, prompts))
    return arms[0], arms[1]


def compute_tests(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Return difference, half width of the 95% interval and p-value of many studies at once, as `contrast` does."""
    seeds, prompts = a.shape[1:]
    means = [scores.mean(axis=2) for scores in (a, b)]
    difference = means[0].mean(axis=1) - means[1].mean(axis=1)
    between = [m.var(axis=1, ddof=1) / seeds for m in means]
    item = (a.mean(axis=1) - b.mean(axis=1)).var(axis=1, ddof=1) / prompts
    error_df = (seeds - 1) * (prompts - 1)
    errors = []
    for scores, mean in zip((a, b), means, strict=True):
        residual = scores - scores.mean(axis=1, keepdims=True) - (mean - mean.mean(axis=1, keepdims=True))[:, :, None]
        errors.append(np.square(residual).sum(axis=(1, 2)) / error_df / seeds / prompts)
    seed_squares = sum(v**2 for v in between) / (seeds - 1)
    item_squares = item**2 / (prompts - 1)
    total = sum(between) + item - sum(errors)
    variances = np.stack([total, sum(between), item])
    squares = np.stack([seed_squares + item_squares + sum(v**2 for v in errors) / error_df, seed_squares, item_squares])
    rule = variances.argmax(axis=0)[None]
    variance = np.take_along_axis(variances, rule, 0)[0]
    df = variance**2 / np.take_along_axis(squares, rule, 0)[0]
    error = np.sqrt(variance)
    return difference, t.ppf(1 - ALPHA / 2, df) * error, 2 * t.sf(np.abs(difference) / error, df)


def check_against_library(a: Array, b: Array) -> None:
    """Raise if the vectorized procedure and the library differ."""
    difference, half, p = compute_tests(a, b)
    for i in range(min(10, len(a))):
        expected = contrast_crossed_scores(CrossedScores("a", "b", a[i], b[i], np.ones(a.shape[2])))
        ours = [difference[i], difference[i] - half[i], difference[i] + half[i], p[i]]
        np.testing.assert_allclose(
            ours, [expected.difference, expected.ci_low, expected.ci_high, expected.p_value], rtol=1e-9
        )


def simulate_rates(
    rng: np.random.Generator, setting: VarianceSetting, studies: int, seeds: int, prompts: int, truth: float = 0.0
) -> tuple[float, float]:
    """Return the fraction of studies with a significant difference, and of those whose interval covers the true one."""
    rejected = covered = 0
    for start in range(0, studies, BATCH):
        a, b = draw_scores(rng, setting, min(BATCH, studies - start), seeds, prompts)
        if start == 0:
            check_against_library(a, b)
        difference, half, p = compute_tests(a + truth, b)
        rejected += int((p <= ALPHA).sum())
        covered += int((np.abs(difference - truth) <= half).sum())
    return rejected / studies, covered / studies


def simulate_grid(settings: dict[str, VarianceSetting], studies: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield type I error and coverage of each setting."""
    rng = np.random.default_rng(2026)
    for name, setting in settings.items():
        for seeds in SEEDS:
            for prompts in PROMPTS:
                type_1, _ = simulate_rates(rng, setting, studies, seeds, prompts)
                _, coverage = simulate_rates(rng, setting, studies, seeds, prompts, truth=0.5)
                yield f"{name}, {seeds} seeds, {prompts} prompts", {"type_1": type_1, "coverage": coverage}


def compare_with_goals(cells: dict[str, dict[str, float]], studies: int) -> dict[str, Any]:
    """Compare the worst settings with the goals.

    Type I error may exceed 5% by a sampling error of 3 standard errors, the expected size of the largest deviation
    among this many settings.
    """
    slack = 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    many = {name: cell["coverage"] for name, cell in cells.items() if ", 5 prompts" not in name}
    few = {name: cell["coverage"] for name, cell in cells.items() if ", 5 prompts" in name}
    type_1 = {name: cell["type_1"] for name, cell in cells.items()}
    return {
        "cells": len(cells),
        "sampling_error": slack,
        "largest_type_1": select_extreme(type_1, max),
        "type_1_at_most_0.05": max(type_1.values()) <= ALPHA + slack,
        "least_coverage_from_24_prompts": select_extreme(many, min),
        "largest_coverage_from_24_prompts": select_extreme(many, max),
        "coverage_0.93_to_0.97_from_24_prompts": min(many.values()) >= 0.93 and max(many.values()) <= 0.97,
        "least_coverage_below": select_extreme(few, min),
        "coverage_at_least_0.93_below": min(few.values()) >= 0.93,
    }


def select_extreme(values: dict[str, float], choose: Any) -> dict[str, float]:
    """Return the setting with the smallest (``min``) or largest (``max``) value."""
    name = choose(values, key=lambda key: values[key])
    return {name: values[name]}


def simulate_power(real: VarianceComponents, studies: int) -> dict[str, Any]:
    """Return planned and simulated power under the variances of real runs, also at the seeds planned for 80% power."""
    rng, setting, results = np.random.default_rng(7), to_setting(real), {}
    for prompts in (24, 200):
        for size in (0.25, 0.5, 1.0):
            planned = seeds_needed(VarianceComponents(**(asdict(real) | {"items": prompts})), size)
            sizes = [*SEEDS, *([planned] if planned and planned <= 60 else [])]
            results[f"difference {size}, {prompts} prompts"] = {
                "seeds_planned_for_0.8": planned,
                **{
                    f"{seeds} seeds": {
                        "planned": compute_power(real, size, seeds, prompts),
                        "found": simulate_rates(rng, setting, studies, seeds, prompts, truth=size)[0],
                    }
                    for seeds in dict.fromkeys(sizes)
                },
            }
    return results


if __name__ == "__main__":
    main()
