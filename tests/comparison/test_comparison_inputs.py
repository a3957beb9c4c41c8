"""A fingerprint tells whether a comparison must be repeated."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

import winnow
from winnow.comparison.comparison_inputs import compute_inputs_fingerprint
from winnow.comparison.study_reader import select_runs
from winnow.tracking import keys

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def study(planted_store: Any) -> str:
    name: str = planted_store.build("fingerprinted", seeds=SEEDS)
    return name


def compute(store: Any, study: str, **options: Any) -> str:
    return compute_inputs_fingerprint(select_runs(store.uri, study), {"metrics": [], **options})


def first_run(store: Any, study: str) -> Any:
    cell = select_runs(store.uri, study).cells[0]
    return store.client.get_run(cell.run_id)


def artifact(run: Any) -> Path:
    return Path(urlparse(run.info.artifact_uri).path) / keys.ROW_SCORES


def test_the_fingerprint_of_an_unchanged_study_is_the_same(planted_store: Any, study: str) -> None:
    assert compute(planted_store, study) == compute(planted_store, study)


def test_the_same_declaration_and_comparison_runs_do_not_change_it(planted_store: Any, study: str) -> None:
    before = compute(planted_store, study)
    client, run = planted_store.client, first_run(planted_store, study)
    parent = client.create_run(run.info.experiment_id, tags={keys.KIND: "study", keys.STUDY: study})
    client.log_text(parent.info.run_id, json.dumps(planted_store.declaration(study)), keys.DECLARATION)
    client.create_run(run.info.experiment_id, tags={keys.KIND: "comparison", keys.STUDY: study})
    assert compute(planted_store, study) == before


def add_seed(store: Any, study: str) -> None:
    store.add_cell(study, "full", 3)


def change_metric(store: Any, study: str) -> None:
    store.client.log_metric(first_run(store, study).info.run_id, "final/seconds", 6.5, step=1)


def change_tag(store: Any, study: str) -> None:
    store.client.set_tag(first_run(store, study).info.run_id, keys.CORPUS, "changed")


def touch_artifact(store: Any, study: str) -> None:
    file = artifact(first_run(store, study))
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1))


def delete_artifact(store: Any, study: str) -> None:
    artifact(first_run(store, study)).unlink()


def delete_run(store: Any, study: str) -> None:
    store.client.delete_run(first_run(store, study).info.run_id)


def declare_margin(store: Any, study: str) -> None:
    experiment = first_run(store, study).info.experiment_id
    parent = store.client.create_run(experiment, tags={keys.KIND: "study", keys.STUDY: study})
    declaration = store.declaration(study) | {"secondary_metrics": ["test/all/loss"]}
    store.client.log_text(parent.info.run_id, json.dumps(declaration), keys.DECLARATION)


@pytest.mark.parametrize(
    "change", [add_seed, change_metric, change_tag, touch_artifact, delete_artifact, delete_run, declare_margin]
)
def test_a_change_of_the_study_changes_it(planted_store: Any, change: Callable[[Any, str], None]) -> None:
    name = planted_store.build(f"fingerprinted-{change.__name__}", seeds=SEEDS, effects={"full": 0.0})
    before = compute(planted_store, name)
    change(planted_store, name)
    assert compute(planted_store, name) != before


def test_options_and_versions_change_it(planted_store: Any, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compute(planted_store, study)
    assert compute(planted_store, study, ui_url="http://127.0.0.1:1") != before
    monkeypatch.setattr(winnow, "__version__", "0.0.1")
    assert compute(planted_store, study) != before
