import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.tracking import Store


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return Store(uri=f"sqlite:///{tmp_path}/new/mlflow.db", artifacts=str(tmp_path / "artifacts"))


def test_an_experiment_is_created_once(store: Store) -> None:
    first = store.experiment("study")
    assert store.experiment("study") == first
    assert store.experiment("other") != first


def test_a_deleted_experiment_is_restored(store: Store) -> None:
    first = store.experiment("study")
    store.client().delete_experiment(first)
    assert store.experiment("study") == first
    assert store.client().get_experiment(first).lifecycle_stage == "active"


@pytest.mark.slow
def test_parallel_processes_can_create_a_store_in_wal_mode(empty_store: Store, tmp_path: Path) -> None:
    code = (
        "from winnow.tracking import Store\n"
        f"store = Store(uri={empty_store.uri!r}, artifacts={empty_store.artifacts!r})\n"
        "store.client().create_run(store.experiment('study'))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 3
    assert len(empty_store.client().search_runs([empty_store.experiment("study")])) == 3
    with sqlite3.connect(empty_store.uri.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_at_the_path_of_the_output_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file", encoding="utf-8")
    store = Store(uri=f"sqlite:///{tmp_path}/outputs/mlflow.db", artifacts=f"{tmp_path}/outputs/artifacts")
    assert [error.key for error in store.check()] == ["uri", "artifacts"]
    assert "output_dir=FOLDER" in str(store.check()[0])
