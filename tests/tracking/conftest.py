"""Real processes that track a run and then die."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from winnow.tracking import Store

Began = tuple[subprocess.Popen[str], str]


@pytest.fixture
def begin(store: Store, tmp_path: Path) -> Iterator[Callable[..., Began]]:
    """Start a process that begins a run, does what is asked and sleeps; return it and the run's id."""
    started: list[subprocess.Popen[str]] = []

    def begin(does: str = "pass", of: Store = store, **arguments: str) -> Began:
        code = (
            "import time\n"
            "from winnow.tracking import Store, track\n"
            f"store = Store(uri={of.uri!r}, artifacts={of.artifacts!r})\n"
            f"with track(store, store.experiment('study'), 'x', {{}}, **{arguments!r}) as run:\n"
            f"    {does}\n"
            "    print(run.run_id, flush=True)\n"
            "    time.sleep(120)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield begin
    for process in started:
        process.kill()
        process.wait()
