"""Measure plans and searches: power of plans, errors of confirmed winners, regret, and trials after kills.

    python benchmarks/search.py --json FILE

- `plan`: plans from simulated pilots with 2, 3 and 5 seeds, compared with the power of the planned study under the
  true variances.
- `null`: simulated searches over settings without any effect. `naive_rate` is how often the winner is significantly
  better than the baseline on the data of the search, `confirmed_type_1` how often the confirmed verdict is wrong. The
  results contain the definitions.
- `regret`: searches over a threshold with a known best value and a simulated objective, compared with a grid.
- `killed`: a real search with small models that is killed 10 times with SIGKILL.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustered_studies import DEMO_0_2, draw_scores, pair_seeds, scale_template_variance
from winnow.comparison import VarianceComponents, compute_power, holm, smallest_detectable_difference
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.pilot_plan import SEED_COUNTS, PilotPlanner
from winnow.config import SearchRange
from winnow.search.search_result import select_finalists
from winnow.search.search_space import build_distributions
from winnow.search.trial_store import TrialStore

WORLDS = {
    "demo of version 0.2": DEMO_0_2,
    "low seed variance": replace(DEMO_0_2, seed_a=0.05**2, seed_b=0.05**2),
    "half template variance": scale_template_variance(DEMO_0_2, 0.5),
    "no template effect": scale_template_variance(DEMO_0_2, 0),
}
TEMPLATES, PRODUCTS = (factor.levels for factor in DEMO_0_2.factors)
KILLS = 10
NULL_DEFINITIONS = {
    "naive_rate": "The winner of the search is significantly better than the baseline (p <= 0.05) on the data of the "
    "search.",
    "confirmed_type_1": "The verdict is wrong: after Holm's correction over the two primary tests, the test of the "
    "winner against the baseline, which decides the verdict, has p <= 0.05 in the fresh runs.",
    "any_primary_test": "At least one of the two primary tests (winner against the baseline, winner against its random "
    "control) has p <= 0.05 after Holm's correction in the fresh runs.",
    "any_primary_test_with_10_seeds": "The same with 10 confirmation seeds, in the setting without template effect.",
}
CONFIRMATION_SEEDS = 5
SMALL_MODELS = [
    "dataset.source.rows=1500",
    "model.layers=1",
    "model.hidden_size=32",
    "training.max_steps=40",
    "training.batch_size=16",
    "training.validate_every_steps=10",
    "evaluation.max_rows=48",
    "probe=[nike_wide]",
    "study.name=killed",
    "launcher=in_process",
]
SPACE = "filter: [nike_positive]\nfilter.signals.sentiment.at_least: {low: 0.0, high: 0.8}\n"


def measure_plans(plans: int) -> dict[str, Any]:
    """Return the achieved minus the planned power of plans from simulated pilots, by pilot size and variances.

    The pilot has three arms with paired seeds. The difference to detect is the one that a study with 10 seeds detects
    with 80% power. The plan may add templates. The achieved power is computed from the true variances.
    """
    rng, settings, all_errors = np.random.default_rng(41), {}, []
    for name, true in WORLDS.items():
        truth = pair_seeds(true, 0.0)
        size = smallest_detectable_difference(truth, 10)
        for seeds in (2, 3, 5):
            errors, counts = [], []
            for _ in range(plans):
                plan = draw_plan(rng, true, seeds, size)
                if plan is not None:
                    achieved = compute_power(truth, size, plan.seeds, levels={"template": plan.levels["template"]})
                    errors.append(achieved - plan.power)
                    counts.append(plan.seeds)
            all_errors += errors
            print_progress(f"plans: {name}, {seeds} seeds")
            settings[f"{name}, {seeds} seeds"] = {
                "power_error": float(np.median(errors)),
                "reached": float(np.mean(np.array(errors) >= -0.1)),
                "without_plan": plans - len(errors),
                "median_seeds": float(np.median(counts)),
            }
    return {
        "power_error": float(np.median(all_errors)),
        "reached": float(np.mean(np.array(all_errors) >= -0.1)),
        "worst_power_error": max((entry["power_error"] for entry in settings.values()), key=abs),
        "worst_reached": min(entry["reached"] for entry in settings.values()),
        "plans_per_setting": plans,
        "settings": settings,
    }


def draw_plan(rng: np.random.Generator, true: VarianceComponents, seeds: int, size: float) -> Any:
    """Return the recommended study of a simulated pilot."""
    pilot = replace(draw_scores(rng, true, seeds), blocked=True)
    third_arm = draw_scores(rng, true, seeds).scores_a.mean(axis=1)
    means = np.stack([*pilot.seed_means, third_arm])
    return PilotPlanner(pilot, means, size, draws=200).recommend(SEED_COUNTS)


def measure_null(searches: int, trials: int = 20, seeds: int = 2, extra_seeds: int = 2) -> dict[str, Any]:
    """Return how often the winner of a search without any effect is significant, in the search and confirmed.

    In the confirmation, the winner is compared with the baseline (which decides the verdict) and with its control, and
    the two tests are Holm-corrected. `any_primary_test` is how often at least one of the two is significant. All rates
    are the worst over the settings.
    """
    rng, settings = np.random.default_rng(42), {}
    for name, true in WORLDS.items():
        naive = confirmed = any_test = optimism = 0.0
        for _ in range(searches):
            arms = draw_arms(rng, true, trials + 1, seeds + extra_seeds)
            means = arms.mean(axis=(2, 3))
            finalists = select_finalists({i: dict(enumerate(means[i, :seeds])) for i in range(1, trials + 1)}, True)
            winner = max(finalists, key=lambda number: means[number].mean())
            result = contrast_crossed_scores(cross(arms[winner], arms[0]))
            naive += result.p_value <= 0.05 and result.difference > 0
            fresh, p_values = confirm(rng, true)
            confirmed += p_values[0] <= 0.05
            any_test += min(p_values) <= 0.05
            optimism += means[winner].mean() - fresh[1].mean()
        print_progress(f"searches without an effect: {name}")
        settings[name] = {
            "naive_rate": naive / searches,
            "confirmed_type_1": confirmed / searches,
            "any_primary_test": any_test / searches,
            "optimism": optimism / searches,
        }
    return {
        "naive_rate": max(entry["naive_rate"] for entry in settings.values()),
        "confirmed_type_1": max(entry["confirmed_type_1"] for entry in settings.values()),
        "any_primary_test": max(entry["any_primary_test"] for entry in settings.values()),
        "searches_per_setting": searches,
        "trials": trials,
        "confirmation_seeds": CONFIRMATION_SEEDS,
        "any_primary_test_with_10_seeds": measure_any_primary_test(searches, 10),
        "definitions": NULL_DEFINITIONS,
        "settings": settings,
    }


def measure_any_primary_test(confirmations: int, seeds: int) -> float:
    """Return how often a primary test is significant without any effect, in the setting with the highest rate."""
    rng, true = np.random.default_rng([42, seeds]), WORLDS["no template effect"]
    return sum(min(confirm(rng, true, seeds)[1]) <= 0.05 for _ in range(confirmations)) / confirmations


def confirm(
    rng: np.random.Generator, true: VarianceComponents, seeds: int = CONFIRMATION_SEEDS
) -> tuple[NDArray[np.float64], list[float]]:
    """Return the scores of the baseline, the winner and its control, and the p-values of the two primary tests."""
    fresh = draw_arms(rng, true, 3, seeds)
    p_values = [contrast_crossed_scores(cross(fresh[1], fresh[other])).p_value for other in (0, 2)]
    return fresh, holm(p_values)


def draw_arms(rng: np.random.Generator, true: VarianceComponents, arms: int, seeds: int) -> NDArray[np.float64]:
    """Draw the scores of arms without a true difference, of shape (arms, seeds, templates, products)."""
    template, product = true.factors

    def noise(variance: float, *shape: int) -> NDArray[np.float64]:
        return math.sqrt(variance) * rng.standard_normal(shape)

    values = noise(template.between / 2, arms, 1, TEMPLATES, 1) + noise(product.between / 2, arms, 1, 1, PRODUCTS)
    values = values + noise(true.item / 2, arms, 1, TEMPLATES, PRODUCTS) + noise(true.seed_a, arms, seeds, 1, 1)
    values = (
        values + noise(template.error_a, arms, seeds, TEMPLATES, 1) + noise(product.error_a, arms, seeds, 1, PRODUCTS)
    )
    return values + noise(true.error_a, arms, seeds, TEMPLATES, PRODUCTS)


def cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> CrossedScores:
    """Return the scores of two arms with paired seeds as a crossed design."""
    rows, columns = np.divmod(np.arange(TEMPLATES * PRODUCTS), PRODUCTS)
    labels = {"template": rows.tolist(), "product": columns.tolist()}
    flat = [side.reshape(len(side), -1) for side in (a, b)]
    return CrossedScores("a", "b", flat[0], flat[1], np.ones(TEMPLATES * PRODUCTS), blocked=True, factors=labels)


def score_threshold(threshold: float) -> float:
    """Return the log odds of wanted words in a corpus whose best threshold is known to be 0.6.

    Rows have uniform scores. A row contains a wanted word with probability 0.2 for scores below 0.6, 0.95 for scores
    from 0.6 to 0.9, and 0.05 above. A threshold keeps all rows with higher scores.
    """
    bounds = ((0.0, 0.6, 0.2), (0.6, 0.9, 0.95), (0.9, 1.0, 0.05))
    wanted = sum(max(0.0, high - max(low, threshold)) * rate for low, high, rate in bounds)
    fraction = wanted / (1 - threshold)
    return math.log(fraction / (1 - fraction))


def measure_regret(searches: int, grid_size: int = 30, seeds: int = 2, noise: float = 0.17) -> dict[str, Any]:
    """Return the regret of searches with a third of the cells of a grid, relative to the range of the objective.

    The standard deviation of the objective between seeds is that of the demo.
    """
    grid = np.linspace(0.0, 0.95, grid_size)
    values = np.array([score_threshold(threshold) for threshold in grid])
    best, value_range = score_threshold(0.6), float(values.max() - values.min())
    rng, regrets, grid_regrets = np.random.default_rng(43), {"tpe": [], "random": []}, []
    trials = grid_size // 3
    for number in range(searches):
        observed = values + rng.normal(0, noise, (seeds, grid_size)).mean(axis=0)
        grid_regrets.append((best - values[observed.argmax()]) / value_range)
        for sampler in ("tpe", "random"):
            with tempfile.TemporaryDirectory() as folder:
                space = build_distributions({"threshold": SearchRange(0.0, 0.95)})
                store = TrialStore(None, "x", Path(folder), space, sampler, number, [True], "f")  # type: ignore[arg-type]
                while True:
                    with store.acquire(trials, 1) as acquired:
                        if not acquired:
                            break
                        score = score_threshold(acquired[0].params["threshold"])
                        store.finish(acquired[0], score + float(rng.normal(0, noise, seeds).mean()))
                winner = max(store.trials, key=lambda trial: trial.score)
                regrets[sampler].append((best - score_threshold(winner.params["threshold"])) / value_range)
    return {
        "regret": float(np.mean(regrets["tpe"])),
        "random": float(np.mean(regrets["random"])),
        "grid": float(np.mean(grid_regrets)),
        "cells": trials * seeds,
        "grid_cells": grid_size * seeds,
        "searches": searches,
    }


def measure_kills(kills: int, trials: int = 8) -> dict[str, Any]:
    """Kill a real search with SIGKILL, run it to completion, and count lost and repeated trials."""
    rng, seen = np.random.default_rng(44), dict[int, str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conf/space").mkdir(parents=True)
        (folder / "conf/space/threshold.yaml").write_text(SPACE, encoding="utf-8")
        delivered = 0
        for _ in range(kills):
            known = len(seen)
            process = start_search(folder, trials)
            # Wait for progress, so that the kills are distributed over the trials, then kill at a random time.
            while process.is_alive() and len(read_trials(folder)) <= min(known, trials - 1):
                time.sleep(0.05)
            process.join(float(rng.uniform(0, 4)))
            if process.is_alive():
                process.kill()
                delivered += 1
            process.join()
            print_progress(f"kills: {delivered} of {kills}")
            seen |= {number: params for number, (_, params) in read_trials(folder).items()}
        process = start_search(folder, trials)
        process.join()
        assert process.exitcode == 0
        final = read_trials(folder)
        finished_runs = Counter(count_finished_runs(folder))
    lost = [number for number, params in seen.items() if not is_completed(final.get(number), params)]
    missing = trials - sum(state == "COMPLETE" for state, _ in final.values())
    duplicates = len(final) - len({params for _, params in final.values()})
    return {
        "lost_trials": len(lost) + max(0, missing),
        "repeated_trials": duplicates + sum(count - 1 for count in finished_runs.values()),
        "kills": delivered,
        "trials": trials,
        "finished_runs": sum(finished_runs.values()),
    }


def is_completed(final: tuple[str, str] | None, params: str | None) -> bool:
    """Return whether a trial is complete and has all parameters that it had when it was killed."""
    return (
        final is not None
        and final[0] == "COMPLETE"
        and set((params or "").split(",")) - {""} <= set(final[1].split(","))
    )


def start_search(folder: Path, trials: int) -> Any:
    """Start a search in a forked process. The libraries are already imported, so starting takes little time."""
    for module in ("mlflow", "optuna", "pytorch_lightning", "transformers", "winnow.search.search_command"):
        importlib.import_module(module)
    from winnow.cli import main as run_winnow

    search = ["search", "space=threshold", f"trials={trials}", "trial_seeds=[11]", "max_trial_seeds=1", "confirm=false"]

    def run() -> None:
        os.chdir(folder)
        log = os.open("search.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.exit(run_winnow([*search, *SMALL_MODELS]))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def read_trials(folder: Path) -> dict[int, tuple[str, str]]:
    """Return the state and the parameters of each trial in Optuna's storage, by number."""
    file = folder / "outputs/killed-search/search.db"
    if not file.exists():
        return {}
    query = "SELECT number, state, group_concat(param_name || '=' || param_value) FROM trials"
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
            rows = connection.execute(f"{query} LEFT JOIN trial_params USING (trial_id) GROUP BY number").fetchall()
    except sqlite3.OperationalError:  # the tables do not exist yet
        return {}
    return {number: (state, params) for number, state, params in rows if state != "PRUNED"}


def count_finished_runs(folder: Path) -> list[str]:
    """Return the cell id of every finished run of the search."""
    query = (
        "SELECT tags.value FROM tags JOIN runs USING (run_uuid) WHERE tags.key = 'winnow.cell_id' "
        "AND runs.status = 'FINISHED'"
    )
    with sqlite3.connect(folder / "outputs/mlflow.db") as connection:
        return [value for (value,) in connection.execute(query)]


def print_progress(text: str) -> None:
    """Print the time and the completed step to the standard error stream."""
    print(f"{time.strftime('%H:%M:%S')} finished {text}", file=sys.stderr, flush=True)


def read_cpu_seconds() -> float:
    """Return the CPU time of this process and its ended child processes."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Run all measurements, print the results and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plans", type=int, default=150)
    parser.add_argument("--searches", type=int, default=3000)
    parser.add_argument("--only", choices=["plan", "null", "regret", "killed"])
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    measurements = {
        "plan": lambda: measure_plans(options.plans),
        "null": lambda: measure_null(options.searches),
        "regret": lambda: measure_regret(20),
        "killed": lambda: measure_kills(KILLS),
    }
    results: dict[str, Any] = {}
    for name, measure in measurements.items():
        if options.only in (None, name):
            start, cpu = time.monotonic(), read_cpu_seconds()
            results[name] = measure()
            results[name] |= {"seconds": time.monotonic() - start, "cpu_seconds": read_cpu_seconds() - cpu}
            print(json.dumps({name: results[name]}, indent=2), flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
