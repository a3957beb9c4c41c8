"""The guide to a team server on PostgreSQL; the test runs every command of the page unchanged."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.postgres import needs_postgres, run_as_database_user
from winnow.cli import main
from winnow.tracking import Store, keys

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[2] / "docs" / "server.md"


@needs_postgres
def test_the_commands_of_the_guide_start_a_working_server(
    database_folder: Path,
    tmp_path: Path,
    small: list[str],
    find_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database, server, clients, copy = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Without its job runners, which the test does not need, a server starts three times as fast.
    ports = {"PGPORT": str(find_port()), "PORT": str(find_port()), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = os.environ | ports | {"TEAM": str(database_folder), "PATH": path}
    uri = f"http://127.0.0.1:{ports['PORT']}"

    run_as_database_user(database, database_folder, environment)
    server_process = subprocess.Popen(
        ["bash", "-ec", server],
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
        stdout=(tmp_path / "server.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for(f"{uri}/health", server_process, tmp_path / "server.log")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        _, *commands = clients.strip().splitlines()
        assert [command.split()[:2] for command in commands] == [["winnow", "train"], ["winnow", "sync"]]
        assert main([*commands[0].split()[1:], *small]) == 0
        assert main(commands[1].split()[1:]) == 0
        store = Store(uri=uri)
        (run,) = store.client().search_runs([store.experiment("team")])
        assert run.info.status == "FINISHED"
        assert run.data.metrics["final/test/all/loss"] > 0
        assert run.info.artifact_uri.startswith("mlflow-artifacts:")
        assert list((database_folder / "artifacts").rglob(keys.ROW_SCORES)), "artifacts are uploaded through the server"
        foreign = urllib.request.Request(uri, headers={"Host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError) as response:
            urllib.request.urlopen(foreign, timeout=20)
        assert response.value.code == 403
        assert not (tmp_path / "mlflow.db").exists()
    finally:
        os.killpg(server_process.pid, signal.SIGKILL)
        server_process.wait()
        run_as_database_user(copy, database_folder, environment)
    assert (database_folder / "mlflow.dump").stat().st_size > 10_000


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")
