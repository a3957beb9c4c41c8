"""The workers of joblib end when their study is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_killed_study(
    workplace: Path, small: list[str], runs: Callable[..., list[Any]], signum: int
) -> None:
    grid = ["filter=full", "seed=1,2,3,4", "study.name=mine", "launcher=joblib", "launcher.workers=2", *small]
    command = [sys.executable, "-m", "winnow", "train", "-m", *grid, "training.max_steps=100000"]
    with (workplace / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    while sum('"running"' in file.read_text() for file in workplace.glob("outputs/mine/cells/*/status.json")) < 2:
        assert process.poll() is None, (workplace / "log.txt").read_text()
        time.sleep(0.2)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    os.kill(process.pid, signum)
    process.wait(60)
    psutil.wait_procs(workers, timeout=40)
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    assert {run.info.status for run in runs()} <= {"KILLED", "RUNNING"}
