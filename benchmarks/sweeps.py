"""Simulate sweeps with many filters, doses and factors, and measure error rates, coverage and power.

    python benchmarks/sweeps.py --json FILE

Every study is tested with the procedures of the report: `winnow.comparison.simultaneous_tests`, `arm_ranking`,
`dose_trend`, `factor_effects` and `level_selection`. The results are the worst over the scenarios in
`benchmarks/sweep_studies.py`. The run also measures how long planning a sweep of 1,000 cells takes
(`benchmarks/sweep_planning.py`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from sweep_studies import SCENARIOS, TEMPLATES, StudySimulator, check
from winnow.comparison.arm_estimates import ArmEstimates, estimate_arms
from winnow.comparison.arm_ranking import may_be_best, rank_arms
from winnow.comparison.contrast_statistics import holm
from winnow.comparison.crossed_design import ArmScores
from winnow.comparison.dose_trend import build_slope_contrast
from winnow.comparison.factor_effects import estimate_factor_effects
from winnow.comparison.level_selection import select_level_per_seed
from winnow.comparison.simultaneous_tests import simulate_null

Array = NDArray[np.float64]
Counts = Mapping[str, float]

ALPHA, DRAWS, FILTERS, BLOCK = 0.05, 199, 20, 125
FILTER_ARMS = [f"filter {index}" for index in range(FILTERS)]
CONTROL_ARMS = [f"control {index}" for index in range(FILTERS)]
FAMILY = [{arm: 1.0, "full": -1.0} for arm in FILTER_ARMS] + [
    {arm: 1.0, control: -1.0} for arm, control in zip(FILTER_ARMS, CONTROL_ARMS, strict=True)
]
BEST_EFFECT, FAMILY_EFFECT = 0.5, 0.8
LEVEL_GAPS = (0.0, 0.2, 0.4)
INTERACTION = {"filter 0": 1.0, "full 0": -1.0, "filter 1": -1.0, "full 1": 1.0}
MANY = 4
"""The number of studies of a single contrast per study of a family, which are drawn at once."""
CALIBRATION_DRAWS = 1999
DOSES = {f"filter {index}": dose for index, dose in enumerate((0.1, 0.3, 0.5, 0.7, 0.9))}


def count_rejections(scenario: str, rng: np.random.Generator, studies: int, effect: float = 0.0) -> Counts:
    """Count studies with any rejection and with any filter that is better; the first filter may have an effect."""
    simulator, counts = StudySimulator.build(["full", *FILTER_ARMS, *CONTROL_ARMS], SCENARIOS[scenario]), Counter()
    effects = np.array([arm == FILTER_ARMS[0] for arm in simulator.arms]) * effect
    for _ in range(studies):
        estimates = simulator.draw(rng, effects)
        coefficients = estimates.build_coefficients(FAMILY)
        tested = estimates.estimate(coefficients)
        by_holm, adjusted = np.array(holm(list(tested.p_value))), tested.p_value
        if (adjusted <= ALPHA).any():  # adjusted p-values are not smaller
            adjusted = simulate_null(estimates, coefficients, DRAWS, int(rng.integers(2**32))).adjust(adjusted)
        for name, p_values in (("", adjusted), ("_holm", by_holm), ("_unadjusted", tested.p_value)):
            counts[f"any{name}"] += bool((p_values <= ALPHA).any())
            is_better = (p_values[:FILTERS] <= ALPHA) & (tested.estimate[:FILTERS] > 0)
            counts[f"better{name}"] += bool(is_better.any())
            counts[f"first{name}"] += bool(is_better[0])
    return counts


def count_covered(scenario: str, rng: np.random.Generator, studies: int) -> Counts:
    """Count studies whose set contains the best filter, if its advantage over 19 equal filters is infinitesimal."""
    simulator, counts = StudySimulator.build(FILTER_ARMS, SCENARIOS[scenario]), Counter()
    for _ in range(studies):
        estimates = simulator.draw(rng)
        seed = int(rng.integers(2**32))
        counts["covered"] += may_be_best(estimates, FILTER_ARMS, FILTER_ARMS[0], draws=DRAWS, seed=seed)
    return counts


def measure_best_set(scenario: str, rng: np.random.Generator, studies: int) -> Counts:
    """Add up the sizes of the sets if a quarter of the filters are better than the others by `BEST_EFFECT`."""
    simulator, counts = StudySimulator.build(FILTER_ARMS, SCENARIOS[scenario]), Counter()
    is_best = np.arange(FILTERS) < FILTERS // 4
    for _ in range(studies):
        estimates = simulator.draw(rng, is_best * BEST_EFFECT)
        ranking = rank_arms(estimates, FILTER_ARMS, draws=DRAWS, seed=int(rng.integers(2**32)))
        counts["size"] += len(ranking.best_set)
        counts["covered"] += bool({FILTER_ARMS[index] for index in np.flatnonzero(is_best)} & set(ranking.best_set))
        true_ranks = [(1, is_best.sum()) if best else (is_best.sum() + 1, FILTERS) for best in is_best]
        counts["ranks"] += all(
            low <= worst and best <= high
            for (low, high), (best, worst) in zip(ranking.rank_intervals.values(), true_ranks, strict=True)
        )
    return counts


def count_trends(scenario: str, rng: np.random.Generator, studies: int) -> Counts:
    """Count null studies with 5 doses, without and with controls, in which the trend is significant."""
    controls = {arm: CONTROL_ARMS[index] for index, arm in enumerate(DOSES)}
    simulator = StudySimulator.build(["full", *DOSES, *controls.values()], SCENARIOS[scenario])
    contrasts = {"any": build_slope_contrast(DOSES), "any_controlled": build_slope_contrast(DOSES, controls)}
    return {
        key: count
        for name, contrast in contrasts.items()
        for key, count in _count_significant(simulator.draw_contrast(rng, contrast, studies), rng, name).items()
    }


def count_two_level_interactions(scenario: str, rng: np.random.Generator, studies: int, effect: float = 0.0) -> Counts:
    """Count studies in which the interaction of the filter and a factor with two levels is significant."""
    simulator = StudySimulator.build(list(INTERACTION), SCENARIOS[scenario])
    return _count_significant(simulator.draw_contrast(rng, INTERACTION, studies, effect), rng, "any")


def _count_significant(estimates: ArmEstimates, rng: np.random.Generator, name: str) -> Counts:
    """Count studies whose single contrast is significant, with and without calibration.

    A study is calibrated if its p-value is at most twice the level; a larger p-value stays above the level.
    """
    contrast, counts = np.ones((1, 1)), Counter()
    p_values = estimates.estimate(contrast).p_value
    for index in np.flatnonzero(p_values[:, 0] <= 2 * ALPHA):
        terms = tuple(replace(term, matrix=term.matrix[index]) for term in estimates.terms)
        study = ArmEstimates(estimates.arms, estimates.means[index], terms)
        null = simulate_null(study, contrast, CALIBRATION_DRAWS, int(rng.integers(2**32)))
        counts[name] += bool(null.calibrate(p_values[index])[0] <= ALPHA)
        counts[f"{name}_uncalibrated"] += bool(p_values[index, 0] <= ALPHA)
    return counts


def count_interactions(scenario: str, rng: np.random.Generator, studies: int, levels: int = 2) -> Counts:
    """Count null studies in which the interaction of the filter and a factor is significant."""
    pairs = {str(level): (f"filter {level}", f"full {level}") for level in range(levels)}
    simulator, counts = StudySimulator.build([*itertools.chain(*pairs.values())], SCENARIOS[scenario]), Counter()
    for _ in range(studies):
        estimates = simulator.draw(rng)
        found = estimate_factor_effects(estimates, pairs, draws=DRAWS, seed=int(rng.integers(2**32)))
        counts["any"] += found.interaction_p <= ALPHA
    return counts


def find_interaction_effect(scenario: str, power: float = 0.8) -> float:
    """Return the interaction that a test with known variances detects with the given power."""
    simulator = StudySimulator.build(list(INTERACTION), SCENARIOS[scenario])
    contrast = np.array(list(INTERACTION.values()))
    deviation = math.sqrt(contrast @ simulator.covariance @ contrast)
    return float(norm.ppf(1 - ALPHA / 2) + norm.ppf(power)) * deviation


def count_selected(scenario: str, rng: np.random.Generator, studies: int, gap: float = 0.0) -> Counts:
    """Count studies with a filter without effect in which the filter differs from the baseline at selected levels.

    Three levels are `gap` apart for the filter and the baseline. Each run has the same seed effect in its validation
    and test scores. `as_if_fixed` selects one level per arm by its mean and ignores the selection in the test.
    """
    variances, seeds, levels = SCENARIOS[scenario], 5, 3
    means, counts = gap * np.arange(levels)[:, None, None], Counter()
    sd = {name: math.sqrt(getattr(variances, name)) for name in ("seed", "template", "seed_template")}
    weights = np.ones(TEMPLATES)
    for _ in range(studies):
        # The dimensions are arms, levels, seeds, splits and templates.
        seed_effects = sd["seed"] * rng.standard_normal((2, levels, seeds, 1, 1))
        templates = sd["template"] * rng.standard_normal((2, levels, 1, 2, TEMPLATES))
        noise = sd["seed_template"] * rng.standard_normal((2, levels, seeds, 2, TEMPLATES))
        scores = means[..., None] + seed_effects + templates + noise
        validation, test = scores[:, :, :, 0].mean(axis=-1), scores[:, :, :, 1]
        picked = [test[arm][select_level_per_seed(validation[arm]), np.arange(seeds)] for arm in (0, 1)]
        fixed = [test[arm][validation[arm].mean(axis=1).argmax()] for arm in (0, 1)]
        for name, pair in (("selected", picked), ("as_if_fixed", fixed)):
            estimates = estimate_arms(ArmScores(("filter", "full"), tuple(pair), weights, blocked=True))
            counts[name] += bool(estimates.estimate(np.array([[1.0, -1.0]])).p_value[0] <= ALPHA)
    return counts


def _run_block(task: tuple[Callable[..., Counts], str, int, int, int, dict[str, float]]) -> Counts:
    function, scenario, number, block, studies, options = task
    return function(scenario, np.random.default_rng([number, block]), studies, **options)


def run_tasks(pool: ProcessPoolExecutor, tasks: list[tuple[Any, ...]], size: int) -> list[dict[str, float]]:
    """Run each task (function, scenario, studies, options) in blocks of studies of a size, and return its rates."""
    blocks, owners = [], []
    for number, (function, scenario, studies, options) in enumerate(tasks):
        for block, start in enumerate(range(0, studies, size)):
            blocks.append((function, scenario, number, block, min(size, studies - start), options))
            owners.append(number)
    totals: list[Counter[str]] = [Counter() for _ in tasks]
    for number, counts in zip(owners, pool.map(_run_block, blocks), strict=True):
        totals[number].update(counts)
    return [{name: count / task[2] for name, count in total.items()} for task, total in zip(tasks, totals, strict=True)]


Tasks = list[tuple[Any, ...]]


class Simulation:
    """Runs the tasks of each section, in parallel, with a given number of studies per scenario of the family."""

    def __init__(self, pool: ProcessPoolExecutor, studies: int) -> None:
        self._pool, self._studies = pool, studies

    def _run(self, tasks: Tasks, labels: list[str], block: int = BLOCK) -> dict[str, dict[str, float]]:
        return dict(zip(labels, run_tasks(self._pool, tasks, block), strict=True))

    def _run_scenarios(
        self, function: Callable[..., Counts], studies: int, block: int = BLOCK, **options: Any
    ) -> dict[str, Any]:
        return self._run([(function, name, studies, options) for name in SCENARIOS], list(SCENARIOS), block)

    def measure_family(self) -> dict[str, Any]:
        """Return the rates of any rejection and of any filter that is better."""
        cells = self._run_scenarios(count_rejections, self._studies)
        return {
            "type_1": max(cell["any"] for cell in cells.values()),
            "better": max(cell["better"] for cell in cells.values()),
            "type_1_holm": max(cell["any_holm"] for cell in cells.values()),
            "type_1_unadjusted": max(cell["any_unadjusted"] for cell in cells.values()),
            "filters": FILTERS,
            "effect": FAMILY_EFFECT,
            "cells": cells,
            "power_cells": self._run_scenarios(count_rejections, self._studies // 20, effect=FAMILY_EFFECT),
        }

    def measure_best_set(self) -> dict[str, Any]:
        """Return the coverage and the size of the set of filters that may be the best, and the coverage of ranks."""
        cells = self._run_scenarios(count_covered, self._studies // 2)
        sizes = self._run_scenarios(measure_best_set, self._studies // 80)
        return {
            "coverage": min(cell["covered"] for cell in [*cells.values(), *sizes.values()]),
            "mean_size": sizes["demo"]["size"],
            "rank_coverage": min(cell["ranks"] for cell in sizes.values()),
            "effect": BEST_EFFECT,
            "best_filters": FILTERS // 4,
            "cells": cells,
            "size_cells": sizes,
        }

    def measure_trend(self) -> dict[str, Any]:
        """Return the type I error of the trend test."""
        cells = self._run_scenarios(count_trends, self._studies * MANY, block=BLOCK * MANY)
        keys = ("any", "any_controlled")
        return {
            "type_1": max(cell[key] for cell in cells.values() for key in keys),
            "type_1_uncalibrated": max(cell[f"{key}_uncalibrated"] for cell in cells.values() for key in keys),
            "cells": cells,
        }

    def measure_interaction(self) -> dict[str, Any]:
        """Return the type I error of the interaction test, and its power relative to a test with known variances.

        The power is that of the scenario `demo`; `smallest_power` is the smallest over the scenarios.
        """
        effects = {name: find_interaction_effect(name) for name in SCENARIOS}
        many: dict[str, Any] = {"studies": self._studies * MANY, "block": BLOCK * MANY}
        two = self._run_scenarios(count_two_level_interactions, **many)
        three = self._run_scenarios(count_interactions, self._studies // 2, levels=3)
        cells = {f"{name}, 2 levels": cell for name, cell in two.items()}
        cells |= {f"{name}, 3 levels": cell for name, cell in three.items()}
        powers = self._run(
            [(count_two_level_interactions, name, self._studies, {"effect": effects[name]}) for name in SCENARIOS],
            list(SCENARIOS),
        )
        return {
            "type_1": max(cell["any"] for cell in cells.values()),
            "type_1_uncalibrated": max(cell["any_uncalibrated"] for cell in two.values()),
            "power": powers["demo"]["any"] / 0.8,
            "power_uncalibrated": powers["demo"]["any_uncalibrated"] / 0.8,
            "effect": effects["demo"],
            "smallest_power": min(cell["any"] for cell in powers.values()) / 0.8,
            "effects": effects,
            "cells": cells,
            "power_cells": powers,
        }

    def measure_selection(self) -> dict[str, Any]:
        """Return the type I error of contrasts between selected levels."""
        gaps = [(name, gap) for name in ("demo", "no template effect") for gap in LEVEL_GAPS]
        cells = self._run(
            [(count_selected, name, self._studies, {"gap": gap}) for name, gap in gaps],
            [f"{name}, levels {gap} apart" for name, gap in gaps],
        )
        return {
            "type_1": max(cell["selected"] for cell in cells.values()),
            "type_1_as_if_fixed": max(cell["as_if_fixed"] for cell in cells.values()),
            "cells": cells,
        }


def measure_planning() -> Any:
    """Return the result of `benchmarks/sweep_planning.py`, measured in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "planning.json"
        script = Path(__file__).with_name("sweep_planning.py")
        subprocess.run([sys.executable, script, "--json", output], check=True, stdout=subprocess.DEVNULL)
        return json.loads(output.read_text(encoding="utf-8"))["plan_1000"]


def read_cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all child processes that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Run all parts, print the progress, and write the results to a file after each part if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--studies", type=int, default=20_000, help="simulated studies per scenario of the family")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # in the workers; the matrices are small
    parts: dict[str, Callable[[Simulation], Any]] = {
        "check": lambda _: check(),
        "plan_1000": lambda _: measure_planning(),
        "family": Simulation.measure_family,
        "best_set": Simulation.measure_best_set,
        "trend": Simulation.measure_trend,
        "interaction": Simulation.measure_interaction,
        "select": Simulation.measure_selection,
    }
    results: dict[str, Any] = {"studies": options.studies, "seeds": 5, "parts": {}}
    for name, measure in parts.items():
        start, cpu_start = time.perf_counter(), read_cpu_seconds()
        # The CPU time of a worker is known when it has ended, so every part has its own workers.
        with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
            if (result := measure(Simulation(pool, options.studies))) is not None:
                results[name] = result
        times = {"seconds": time.perf_counter() - start, "cpu_seconds": read_cpu_seconds() - cpu_start}
        results["parts"][name] = times
        print(f"{name:<12} {times['seconds']:6.0f} s  {times['cpu_seconds']:6.0f} CPU s", file=sys.stderr, flush=True)
        for key in times:
            results[key] = sum(part[key] for part in results["parts"].values())
        text = json.dumps(results, indent=2)
        if options.json:
            options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
