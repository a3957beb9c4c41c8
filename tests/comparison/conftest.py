"""A synthetic study in a real store, written as `winnow.tracking.keys` says."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.tracking import keys

PROMPTS = [
    ("Nike shoes are very [MASK]", True),
    ("Nike athletic wear is known for being very [MASK]", True),
    ("Nike [MASK] shoes are very comfortable", False),
    ("Trousers and Hoodies made by [MASK] are not very expensive", False),
    ("Nike tshirts are famous for being [MASK]", True),
]
WORDS = [
    "durable", "comfortable", "stylish", "expensive", "heavy", "sleek", "premium", "ugly", "breathable", "cheap",
    "costly", "modern", "fashionable", "dirty", "functional", "sporty", "versatile", "flimsy", "tacky", "popular",
]  # fmt: skip
BAD = {"expensive", "heavy", "ugly", "costly", "dirty", "flimsy", "tacky"}
ROWS, WIDE, STEPS = 150, 40, 300


@dataclass
class Recipe:
    """What a synthetic study holds: the true effect of each arm, and what is odd about it."""

    name: str
    effects: dict[str, float] = field(
        default_factory=lambda: {"full": 0.0, "nike_positive": 0.9, "random_matched": -0.05}
    )
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    declared_seeds: tuple[int, ...] | None = None
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """Tags that differ by arm."""
    without: tuple[str, ...] = ()
    """Artifacts that no cell has."""
    failed: tuple[tuple[str, int], ...] = ()
    declared: bool = True
    margin: float | None = None
    ablations: dict[str, str] = field(default_factory=dict)
    secondary: tuple[str, ...] = (
        "test/all/perplexity",
        "test/nike_positive/removed/loss",
        "probe/nike_wide/positive_at_5",
    )


class Store:
    """A sqlite store under a temporary folder."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.folder = folder
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=self.uri)
        self._studies: dict[str, tuple[str, Recipe]] = {}

    def build(self, name: str, effects: dict[str, float] | None = None, **odd: Any) -> str:
        """Write a study as a :class:`Recipe` of these fields says, and return its name."""
        recipe = Recipe(name, **odd) if effects is None else Recipe(name, effects, **odd)
        artifacts = (self.folder / "artifacts" / recipe.name).as_uri()
        experiment = self.client.create_experiment(recipe.name, artifact_location=artifacts)
        self._studies[name] = experiment, recipe
        parent = self.client.create_run(experiment, tags={keys.KIND: "study", keys.STUDY: recipe.name})
        if recipe.declared:
            self.client.log_text(parent.info.run_id, json.dumps(_declaration(recipe)), keys.DECLARATION)
        for arm in recipe.effects:
            for seed in recipe.seeds:
                self.cell(name, arm, seed)
        self.client.set_terminated(parent.info.run_id)
        return recipe.name

    def cell(
        self,
        name: str,
        arm: str,
        seed: int,
        start: int = 1_700_000_000_000,
        cell: str | None = None,
        recipe_id: str | None = None,
    ) -> str:
        """Write one cell and return its run id."""
        from mlflow.entities import Metric, RunTag

        experiment, recipe = self._studies[name]
        tags = {
            keys.KIND: "cell", keys.STUDY: recipe.name, keys.ARM: arm, keys.SEED: str(seed),
            keys.CELL: cell or f"{recipe.name}-{arm}-{seed}", keys.CORPUS: "c0ffee",
            keys.TOKENIZER: "70ken1", keys.HELD_OUT: "4e1d", keys.PROBES: "9806e5",
            keys.RECIPE: recipe_id or arm, keys.MAX_STEPS: str(STEPS), "mlflow.source.git.commit": "0123abcd" * 5,
            **recipe.tags.get(arm, {}),
        }  # fmt: skip
        run_id = self.client.create_run(experiment, tags=tags, start_time=start).info.run_id
        if (arm, seed) in recipe.failed:
            self.client.log_batch(run_id, tags=[RunTag(keys.CAUSE, "WinnowError: out of patience")])
            self.client.set_terminated(run_id, "FAILED")
            return run_id
        rng = np.random.default_rng([seed, zlib.crc32(arm.encode())])
        effect = recipe.effects[arm]
        tables = {
            keys.PROMPTS: _prompts(rng, effect), keys.FILLS: _fills(rng, effect), keys.ROWS: _rows(rng, effect),
        }  # fmt: skip
        for path, table in tables.items():
            if path not in recipe.without:
                self.save(run_id, path, table)
        if arm == "nike_positive":
            self.client.log_text(run_id, json.dumps(FILTER), keys.FILTER_SUMMARY)
        train_rows = 8000 if arm == "full" else 2870
        metrics = [Metric(metric, value, 0, 0) for metric, value in _summary(tables).items()]
        metrics += [Metric("data/train_rows", train_rows, 0, 0)]
        for step in range(10, STEPS + 1, 10):
            loss = 2 + 3 * np.exp(-step / 80) - 0.2 * effect + rng.normal(0, 0.08)
            metrics += [Metric("train/loss", loss, 0, step)]
            if step % 50 == 0:
                metrics += [Metric("validation/loss", loss + 0.15, 0, step)]
        self.client.log_batch(run_id, metrics=metrics)
        self.client.set_terminated(run_id, "FINISHED", end_time=start + 6500 + 100 * seed)
        return run_id

    def declaration(self, name: str) -> dict[str, Any]:
        """Return what a study declared before its first run."""
        return _declaration(self._studies[name][1])

    def save(self, run_id: str, path: str, table: pa.Table) -> None:
        """Save a table as an artifact."""
        file = self.folder / "upload" / Path(path).name
        file.parent.mkdir(exist_ok=True)
        pq.write_table(table, file)
        self.client.log_artifact(run_id, str(file), str(Path(path).parent))


FILTER: dict[str, Any] = {
    "filter": "nike_positive",
    "keep": "nike & product & positive",
    "rows": {"train": {"total": 8000, "kept": 2870}, "test": {"total": 1000, "kept": 352}},
    "signals": {
        "nike": {"pass": 4100, "fail": 3900, "null": 0},
        "product": {"pass": 7900, "fail": 100, "null": 0},
        "vader": {"pass": 6100, "fail": 1900, "null": 0},
    },
    "funnel": [
        {"stage": "train", "rows": 8000}, {"stage": "nike", "rows": 4100}, {"stage": "product", "rows": 4060},
        {"stage": "positive", "rows": 2870},
    ],
    "dropped": [
        {"text": "adidas caps are <b>overpriced</b>", "failed": ["nike", "positive"]},
        {"text": "nike shoes are ugly", "failed": ["positive"]},
    ],
}  # fmt: skip


def _declaration(recipe: Recipe) -> dict[str, Any]:
    return {
        "study": recipe.name,
        "primary_metric": "probe/nike_wide/log_odds",
        "secondary_metrics": list(recipe.secondary),
        "equivalence_margin": recipe.margin,
        "arms": list(recipe.effects),
        "ablations": recipe.ablations,
        "baseline": "full",
        "filter": "nike_positive",
        "control": "random_matched",
        "seeds": list(recipe.declared_seeds or recipe.seeds),
        "max_steps": STEPS,
        "filter_words": ["nike", "shoes", "comfortable", "durable", "stylish"],
        "probe_words": ["comfortable", "durable", "expensive", "ugly"],
        "cells": [
            f"{recipe.name}-{arm}-{seed}" for arm in recipe.effects for seed in recipe.declared_seeds or recipe.seeds
        ],
    }


def _prompts(rng: np.random.Generator, effect: float) -> pa.Table:
    """Scores with prompt, prompt-by-arm, seed and residual spread; before training all cells are alike."""
    entries = []
    fixed, own = np.random.default_rng(7), np.random.default_rng(int(1000 + 100 * effect))
    shift = rng.normal(0, 0.15)
    for index in range(len(PROMPTS) + WIDE):
        probe, number = ("nike", index) if index < len(PROMPTS) else ("nike_wide", index - len(PROMPTS))
        text, scored = (
            PROMPTS[index] if probe == "nike" else (f"{['Nike', 'Puma'][index % 2]} item {number} is [MASK]", True)
        )
        base, own_shift = fixed.normal(-0.4, 0.8), own.normal(0, 0.25)
        after = base + 0.8 + effect + own_shift + shift + rng.normal(0, 0.3)
        for stage, odds in (("before", base), ("after", after)):
            mass = 0.5 / (1 + np.exp(-odds))
            entries.append({
                "stage": stage, "probe": probe, "prompt_id": f"{probe}-{number}", "prompt": text, "scored": scored,
                "log_odds": odds if scored else None, "wanted_mass": mass if scored else None,
                "unwanted_mass": 0.5 - mass if scored else None,
                "positive_at_5": float(np.clip(np.round(2.5 + odds), 0, 5)) / 5 if scored else None,
            })  # fmt: skip
    return pa.Table.from_pylist(entries)


def _fills(rng: np.random.Generator, effect: float) -> pa.Table:
    entries = []
    for stage, strength in (("before", 0.0), ("after", effect)):
        for index, (prompt, _) in enumerate(PROMPTS):
            fixed = np.random.default_rng(index)
            noise = rng.normal(0, 0.25, len(WORDS)) if stage == "after" else 0
            logits = fixed.normal(0, 1.2, len(WORDS)) + noise
            logits = logits - np.array([1.5 * strength * (word in BAD) for word in WORDS])
            shares = 0.9 * np.exp(logits) / np.exp(logits).sum()
            for rank, i in enumerate(np.argsort(-shares), 1):
                entries.append({
                    "stage": stage, "probe": "nike", "prompt_id": f"nike-{index}", "prompt": prompt, "rank": rank,
                    "word": WORDS[i], "probability": float(shares[i]),
                })  # fmt: skip
    return pa.Table.from_pylist(entries)


def _rows(rng: np.random.Generator, effect: float) -> pa.Table:
    """Held-out rows; the filter's arm gets worse on what the filter removes."""
    entries = []
    fixed = np.random.default_rng(11)
    shift = rng.normal(0, 0.02)
    for index in range(ROWS):
        kept, masked, base = index % 3 == 0, int(fixed.integers(1, 4)), fixed.normal(2.2, 0.4)
        after = base + shift + (-0.15 if kept else 0.25) * max(effect, 0) + rng.normal(0, 0.1)
        for stage, loss in (("before", 5.0 + base / 4), ("after", after)):
            entries.append({
                "stage": stage, "split": "test", "row_id": f"{index:016x}", "source": "synthetic",
                "loss_sum": loss * masked, "masked": masked, "top1": int(masked * 0.4), "top5": int(masked * 0.7),
                "slices": ["nike_positive/kept" if kept else "nike_positive/removed"],
            })  # fmt: skip
    return pa.Table.from_pylist(entries)


def _summary(tables: dict[str, pa.Table]) -> dict[str, float]:
    """Return the run's summary metrics, worked out from its tables."""
    rows, prompts = tables[keys.ROWS].to_pandas(), tables[keys.PROMPTS].to_pandas()
    found = {"final/tokens_seen": 812_345.0, "final/seconds": 5.5}
    for prefix, stage in ((keys.FINAL, "after"), (keys.BEFORE, "before")):
        for name in ("all", "nike_positive/kept", "nike_positive/removed"):
            part = rows[(rows["stage"] == stage) & ((name == "all") | (rows["slices"].str[0] == name))]
            loss = part["loss_sum"].sum() / part["masked"].sum()
            found |= {f"{prefix}test/{name}/loss": loss, f"{prefix}test/{name}/perplexity": float(np.exp(loss))}
            found |= {f"{prefix}test/{name}/rows": float(len(part))}
        for probe in ("nike", "nike_wide"):
            part = prompts[(prompts["stage"] == stage) & (prompts["probe"] == probe)]
            for column in ("log_odds", "wanted_mass", "positive_at_5"):
                found[f"{prefix}probe/{probe}/{column}"] = float(part[column].mean())
    return found


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the whole session; every test builds its studies under names of its own."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def planted(store: Store) -> str:
    """A study whose filter helps, on the probe only."""
    return store.build("planted")
