"""`winnow doctor`: what it reports, its exit code, and that it imports no heavy package."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.cli import main
from winnow.commands.doctor import check_database, check_disk, find_existing_folder, find_version
from winnow.tracking import Store


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")


def test_a_complete_installation_is_ready(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    lines = {line.split()[1]: line for line in printed.splitlines() if len(line.split()) > 2}
    assert lines["Python"].startswith("ok")
    assert f"torch {find_version('torch')}" in lines["versions"]
    assert "CPU cores" in lines["device"]
    assert "mlflow.db: 0 runs" in lines["store"]
    assert "GB free in" in lines["disk"]
    assert "HF_HUB_OFFLINE" in lines["network"]
    assert "Winnow is ready" in printed


def test_a_missing_installation_is_a_problem(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.commands.doctor.DISTRIBUTION", "winnow-that-is-not-installed")
    assert main(["doctor"]) == 1
    assert "winnow-that-is-not-installed is not installed in this environment" in capsys.readouterr().out


def test_a_server_that_does_not_respond_is_a_problem(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "tracking=server", "tracking.uri=http://127.0.0.1:9"]) == 1
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:9 does not respond" in printed
    assert "1 problem" in printed


def test_a_damaged_or_locked_database_is_a_problem(workplace: Path, store: Store) -> None:
    file = workplace / "outputs/mlflow.db"
    assert check_database(file).status == "ok"
    (workplace / "damaged.db").write_bytes(b"not a database" * 100)
    assert check_database(workplace / "damaged.db").status == "problem"
    assert check_database(workplace / "new.db").detail.endswith("the first run creates it")
    assert not (workplace / "new.db").exists()
    with sqlite3.connect(file, isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert "locked" in check_database(file).detail


def test_little_disk_space_is_reported(tmp_path: Path) -> None:
    statuses = [check_disk(tmp_path, free).status for free in (10**8, 2 * 10**9, 10**11)]
    assert statuses == ["problem", "optional", "ok"]
    assert find_existing_folder(tmp_path / "not/yet") == tmp_path.resolve()


@pytest.mark.slow
def test_no_heavy_package_is_imported(workplace: Path) -> None:
    code = "import sys; from winnow.cli import main; main(['doctor']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for package in ("torch", "transformers", "mlflow", "pandas", "pyarrow"):
        assert f"'{package}'" not in done.stdout
