"""Unusable databases and full disks: clear error messages and no data loss."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from winnow.errors import WinnowError
from winnow.tracking import Store, track
from winnow.tracking.store_errors import is_store_error


def database_file(store: Store) -> Path:
    return Path(store.uri.removeprefix("sqlite:///"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can access, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


def run_unprivileged(function: Callable[[], str]) -> str:
    """Return the result of a function in a process without root privileges, which ignore read-only permissions."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            os.write(writing, function().encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return result


def test_check_reports_a_locked_database(store: Store) -> None:
    with closing(sqlite3.connect(database_file(store), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        (error,) = store.check()
    assert error.key == "uri"
    assert "locked by another program" in error.message
    assert store.check() == []


@pytest.mark.slow
def test_logs_during_a_database_lock_are_stored_later(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with track(store, store.experiment("study"), "x", {}) as run:
        with closing(sqlite3.connect(database_file(store), isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            run.log_metrics({"train/loss": 2.0}, 1)
            run.flush()
            run.log_params({"lr": 0.1})
        assert "cannot log to the store" in capsys.readouterr().err
        assert "train/loss" not in store.client().get_run(run.run_id).data.metrics
    stored_run = store.client().get_run(run.run_id)
    assert (stored_run.info.status, stored_run.data.params) == ("FINISHED", {"lr": "0.1"})
    assert stored_run.data.metrics["train/loss"] == 2.0
    assert not list(store.spool_folder.glob("*/run.json"))


def test_check_reports_a_newer_schema_and_does_not_change_it(store: Store) -> None:
    with closing(sqlite3.connect(database_file(store))) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        database.commit()
    (error,) = store.check()
    assert "Upgrade MLflow" in error.message
    with closing(sqlite3.connect(database_file(store))) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("ffffffffffff",)


def test_check_reports_a_file_that_is_not_a_database_and_does_not_change_it(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("notes of mine " * 100, encoding="utf-8")
    (error,) = Store(uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path)).check()
    assert "not a SQLite database" in error.message
    assert (tmp_path / "mlflow.db").read_text(encoding="utf-8").startswith("notes of mine")


def test_check_reports_a_read_only_database(store: Store, open_folder: Path) -> None:
    with (
        closing(sqlite3.connect(database_file(store))) as source,
        closing(sqlite3.connect(open_folder / "mlflow.db")) as copy,
    ):
        source.backup(copy)
    for name, mode in (("mlflow.db", 0o444), ("mlflow.db.lock", 0o666)):
        (open_folder / name).touch()
        (open_folder / name).chmod(mode)
    readonly = Store(uri=f"sqlite:///{open_folder}/mlflow.db")
    assert "is read-only" in run_unprivileged(lambda: str(readonly.check()[0]))


@pytest.mark.slow
def test_a_full_disk_is_a_clear_error_and_earlier_logs_are_stored(store: Store, tmp_path: Path) -> None:
    experiment = store.experiment("study")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from winnow.errors import WinnowError\n"
        "from winnow.tracking import Store, track\n"
        f"store = Store(uri={store.uri!r}, artifacts={store.artifacts!r}, spool={store.spool!r})\n"
        "Path('large').write_bytes(bytes(3_000_000))\n"
        "try:\n"
        f"    with track(store, {experiment!r}, 'x', {{}}) as run:\n"
        "        run.log_params({'lr': 0.1})\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "        run.log_file(Path('large'))\n"
        "except WinnowError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "cannot save the logs" in result.stdout, result.stderr
    assert "Free up disk space" in result.stdout
    (stored_run,) = store.client().search_runs([experiment])
    assert stored_run.data.params == {"lr": "0.1"}


def test_a_run_can_be_tracked_in_csv_files(tmp_path: Path) -> None:
    store = Store(uri=f"csv:{tmp_path}/runs")
    assert store.check() == []
    with track(store, store.experiment("study"), "full, seed 1", {"winnow.arm": "full"}) as run:
        run.log_params({"lr": 0.1})
        run.log_metrics({"train/loss": 2.0, "train/tokens": 10}, 1)
        run.log_json({"kept": 3}, "filter/summary.json")
        run.log_dataset("nike", "0123456789abcdef", "train", 3, {})
    (folder,) = (tmp_path / "runs/study").iterdir()
    assert folder.name.startswith("full--seed-1")
    lines = {path.name: path.read_text(encoding="utf-8").splitlines() for path in folder.glob("*.csv")}
    assert lines["metrics.csv"][0] == "time,step,metric,value"
    assert [line.split(",", 1)[1] for line in lines["metrics.csv"][1:]] == ["1,train/loss,2.0", "1,train/tokens,10.0"]
    assert lines["params.csv"] == ["param,value", "lr,0.1"]
    assert "winnow.arm,full" in lines["tags.csv"]
    assert "status,FINISHED" in lines["tags.csv"]
    assert lines["datasets.csv"][1].startswith("train,nike,0123456789abcdef")
    assert (folder / "artifacts/filter/summary.json").exists()
    with pytest.raises(WinnowError, match="tracking=sqlite"):
        store.client()


def test_errors_of_the_store_are_distinguished_from_bugs(store: Store) -> None:
    from mlflow.exceptions import MlflowException

    client = store.client()
    with closing(sqlite3.connect(database_file(store))) as connection:
        connection.execute("DROP TABLE runs")
        with pytest.raises(MlflowException) as caught:
            client.search_runs(["0"])
    assert is_store_error(caught.value)
    assert is_store_error(MlflowException("API request to http://host failed with exception Connection refused"))
    assert is_store_error(sqlite3.OperationalError("database is locked"))
    assert not is_store_error(MlflowException("Invalid value for parameter 'name'"))
    assert not is_store_error(TimeoutError("another time limit"))
