"""The creation of the embedded store, interrupted at any point."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from winnow.tracking import Store, track

CREATE = "import sys; from winnow.tracking import Store; Store(uri=sys.argv[1]).client()"


def store_in(folder: Path) -> Store:
    return Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"))


def assert_usable(store: Store) -> None:
    assert store.check() == []
    with track(store, store.experiment("study"), "x", {}) as run:
        run.log_metrics({"value": 1.0})
    assert store.client().get_run(run.run_id).data.metrics == {"value": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_store_whose_creation_is_killed_is_usable_at_the_next_start(tmp_path: Path, share: float) -> None:
    store = store_in(tmp_path)
    draft = tmp_path / "mlflow.db.new"
    process = subprocess.Popen([sys.executable, "-c", CREATE, store.uri], cwd=tmp_path)
    while not draft.exists():
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(share)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert_usable(store)
    assert not draft.exists()


def interrupted(file: Path, statement: str) -> None:
    """Leave a database as MLflow's migration does if it is killed."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        for each in statement.split(";"):
            database.execute(each)


@pytest.mark.slow
@pytest.mark.parametrize(
    "state",
    [
        "SELECT 1",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT);"
        "CREATE TABLE logged_models (model_id TEXT);"
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);"
        "INSERT INTO alembic_version VALUES ('451aebb31d03')",
    ],
)
def test_a_store_that_an_earlier_version_left_incomplete_is_created_again(tmp_path: Path, state: str) -> None:
    interrupted(tmp_path / "mlflow.db", state)
    assert_usable(store_in(tmp_path))


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    interrupted(tmp_path / "mlflow.db", "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')")
    store_in(tmp_path).check()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT text FROM notes").fetchone() == ("mine",)


def test_a_store_whose_upgrade_was_interrupted_is_not_reported_as_newer(store: Store) -> None:
    file = Path(store.uri.removeprefix("sqlite:///"))
    interrupted(file, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    (fault,) = store.check()
    assert "newer" not in fault.message
    assert "mlflow db upgrade" in fault.message
