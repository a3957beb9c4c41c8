"""Measure the time to compare a study of 1,000 tracked runs and to open its report in Chromium.

    python benchmarks/comparison.py --json benchmarks/results/NAME.json

The runs are synthetic and stored in a real store: 5 arms with 200 seeds, each with 400 held-out rows at two stages, 40
prompts with 20 fills, 60 summary metrics and one curve. No model is trained.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.reporting import compare
from winnow.tracking import Store, keys
from winnow.tracking.run_environment import describe_hardware

ARMS = {"full": 0.0, "nike_positive": 0.1, "random_matched": 0.0, "without_praise": 0.05, "without_blame": 0.1}
SEEDS, ROWS, PROMPTS, WORDS, STEPS = 200, 400, 40, 20, 30
TABLES = (keys.ROW_SCORES, keys.PROMPT_RESULTS, keys.PREDICTED_WORDS)


def main() -> None:
    """Write the runs, compare them, and save the measured times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=f"{folder}/artifacts")
        started = time.monotonic()
        runs = write_study(store, options.seeds)
        written = time.monotonic() - started
        wall, cpu = time.monotonic(), time.process_time()
        comparison = compare(store.tracking_uri, "thousand", Path(folder) / "out", publish=False)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        page = Path(folder) / "out/report.html"
        results = {
            "runs": runs,
            "compare_wall_seconds": round(wall, 2),
            "compare_cpu_seconds": round(cpu, 2),
            "under_20_seconds_of_cpu": cpu < 20,
            "page_bytes": page.stat().st_size,
            "page_opens_milliseconds": measure_page_load(page),
            "verdict": comparison.verdict.word,
            "writing_the_runs_seconds": round(written, 1),
            "hardware": describe_hardware(),
        }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def write_study(store: Store, seeds: int) -> int:
    """Write a finished study; return its number of training runs."""
    from mlflow.entities import Metric, Param, RunTag

    client, experiment = store.client(), store.experiment("thousand")
    parent = client.create_run(experiment, tags={keys.KIND: "study", keys.STUDY: "thousand"})
    ablations = {arm: arm.removeprefix("without_") for arm in ARMS if arm.startswith("without_")}
    declaration = {
        "primary_metric": "probe/nike_wide/log_odds", "secondary_metrics": ["test/all/loss", "test/all/perplexity"],
        "arms": list(ARMS), "baseline": "full", "filter": "nike_positive", "control": "random_matched",
        "ablations": ablations, "seeds": list(range(seeds)), "max_steps": 300, "cells": [],
    }  # fmt: skip
    client.log_text(parent.info.run_id, json.dumps(declaration), keys.DECLARATION)
    for arm, effect in ARMS.items():
        for seed in range(seeds):
            tags = {
                keys.KIND: "cell", keys.STUDY: "thousand", keys.ARM: arm, keys.SEED: str(seed),
                keys.CELL_ID: f"{arm}-{seed}", keys.RECIPE: arm, keys.CORPUS: "c", keys.TOKENIZER: "t",
                keys.HELD_OUT: "h", keys.PROBES: "p", keys.MAX_STEPS: "300",
            }  # fmt: skip
            run = client.create_run(experiment, tags=tags)
            tables, scores = generate_run(np.random.default_rng([seed, len(arm)]), effect)
            metrics = [Metric(f"final/{name}", value, 0, 0) for name, value in scores.items()]
            metrics += [Metric("train/loss", 5 - step / 10, 0, 10 * step) for step in range(STEPS)]
            params = [Param(f"group.key_{i}", str(i)) for i in range(60)]
            client.log_batch(run.info.run_id, metrics=metrics, params=params, tags=[RunTag("mlflow.user", "nobody")])
            artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
            config = artifacts / keys.RESOLVED_CONFIG
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text("model: {layers: 2}\n", encoding="utf-8")
            for path, table in tables.items():
                (artifacts / path).parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(table, artifacts / path)
            client.set_terminated(run.info.run_id)
    return len(ARMS) * seeds


def generate_run(rng: np.random.Generator, effect: float) -> tuple[dict[str, pa.Table], dict[str, float]]:
    """Return the tables and scores of one training run."""
    words = [f"word{i}" for i in range(WORDS)]
    tables: dict[str, Any] = {}
    shift = rng.normal(0, 0.2)
    slices = [["nike_positive/kept"] if i % 3 else ["nike_positive/removed"] for i in range(ROWS)]
    masked = np.arange(ROWS) % 3 + 1
    stages = ("before", "after")
    loss = {stage: rng.normal(3 + (stage == "before"), 0.3, ROWS) + shift / 5 for stage in stages}
    odds = {stage: rng.normal(effect * (stage == "after"), 0.4, PROMPTS) + shift for stage in stages}
    tables[keys.ROW_SCORES] = pa.concat_tables(
        pa.table({
            "stage": [stage] * ROWS, "split": ["test"] * ROWS, "row_id": [f"{i:016x}" for i in range(ROWS)],
            "source": ["made"] * ROWS, "loss_sum": loss[stage] * masked, "masked": masked, "top1": masked // 2,
            "top5": masked, "slices": slices,
        }) for stage in stages
    )  # fmt: skip
    tables[keys.PROMPT_RESULTS] = pa.concat_tables(
        pa.table({
            "stage": [stage] * PROMPTS, "probe": ["nike_wide"] * PROMPTS,
            "prompt": [f"prompt {i}" for i in range(PROMPTS)],
            "prompt_id": [f"p{i}" for i in range(PROMPTS)],
            "scored": [True] * PROMPTS, "log_odds": odds[stage],
        }) for stage in stages
    )  # fmt: skip
    size = PROMPTS * WORDS
    tables[keys.PREDICTED_WORDS] = pa.concat_tables(
        pa.table({
            "stage": [stage] * size, "probe": ["nike_wide"] * size,
            "prompt_id": np.repeat([f"p{i}" for i in range(PROMPTS)], WORDS),
            "prompt": np.repeat([f"prompt {i}" for i in range(PROMPTS)], WORDS),
            "rank": np.tile(np.arange(1, WORDS + 1), PROMPTS), "word": words * PROMPTS,
            "probability": rng.dirichlet(np.ones(WORDS), PROMPTS).ravel(),
        }) for stage in stages
    )  # fmt: skip
    token_mean = float((loss["after"] * masked).sum() / masked.sum())
    scores = {
        "test/all/loss": token_mean,
        "test/all/perplexity": float(np.exp(token_mean)),
        "test/all/rows": float(ROWS),
    }
    scores |= {"probe/nike_wide/log_odds": float(odds["after"].mean()), "tokens_seen": 1e6, "seconds": 60.0}
    return tables, scores | {f"test/all/other_{i}": float(rng.normal()) for i in range(54)}


def measure_page_load(page: Path) -> float | None:
    """Return the median page load time of five loads in milliseconds, or `None` if Chromium is not installed."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(5):
            tab = browser.new_page()
            tab.goto(page.as_uri())
            times.append(tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            tab.close()
        browser.close()
    return round(sorted(times)[2], 1)


if __name__ == "__main__":
    main()
