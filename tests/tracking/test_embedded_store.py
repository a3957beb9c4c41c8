"""Creation of the embedded store, interrupted at arbitrary points."""

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


def create_store(folder: Path) -> Store:
    return Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"))


def assert_usable(store: Store) -> None:
    assert store.check() == []
    with track(store, store.experiment("study"), "x", {}) as run:
        run.log_metrics({"value": 1.0})
    assert store.client().get_run(run.run_id).data.metrics == {"value": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.3, 0.6, 0.9])
def test_a_store_is_usable_after_its_creation_was_killed(tmp_path: Path, delay: float) -> None:
    store = create_store(tmp_path)
    temporary = tmp_path / "mlflow.db.new"
    process = subprocess.Popen([sys.executable, "-c", CREATE, store.uri], cwd=tmp_path)
    while not temporary.exists():
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert_usable(store)
    assert not temporary.exists()


def create_interrupted_database(file: Path, script: str) -> None:
    """Create the state that a killed MLflow migration leaves behind."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        for statement in script.split(";"):
            database.execute(statement)


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
def test_an_incomplete_store_of_an_earlier_version_is_created_again(tmp_path: Path, state: str) -> None:
    create_interrupted_database(tmp_path / "mlflow.db", state)
    assert_usable(create_store(tmp_path))


def test_a_database_of_another_program_is_not_changed(tmp_path: Path) -> None:
    create_interrupted_database(
        tmp_path / "mlflow.db", "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')"
    )
    create_store(tmp_path).check()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT text FROM notes").fetchone() == ("mine",)


def test_a_store_whose_upgrade_was_interrupted_is_not_reported_as_newer(store: Store) -> None:
    file = Path(store.uri.removeprefix("sqlite:///"))
    create_interrupted_database(file, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    (error,) = store.check()
    assert "newer" not in error.message
    assert "mlflow db upgrade" in error.message
