"""The cost of digests for `survival.py`: the fraction of a demo cell's time in which files are hashed and flushed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from winnow.cli import main as winnow_main
from winnow.data import cache

DEMO_CELL = ["train", "filter=nike_positive", "training.max_steps=200"]
"""A cell with the settings of `experiment=demo`."""


def measure_digests(context: Any) -> dict[str, Any]:
    """Run a demo cell twice, first with an empty cache, and compute the percentage of its time that digests take."""
    cells = {}
    for name in ("empty_cache", "full_cache"):
        process = context.Process(target=time_cell, args=(f"{name}.json",))
        process.start()
        process.join()
        cells[name] = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
    return {"percent": max(cell["percent"] for cell in cells.values()), **cells}


def time_cell(result_file: str) -> None:
    """Run a demo cell, and write the times to a file."""
    started = time.monotonic()
    with timed_digests() as seconds:
        code = winnow_main(DEMO_CELL)
    total = time.monotonic() - started
    if code != 0:
        raise RuntimeError(f"the demo cell ended with exit code {code}")
    results = {
        "seconds": round(total, 2),
        "digest_seconds": round(sum(seconds), 4),
        "percent": round(100 * sum(seconds) / total, 3),
    }
    Path(result_file).write_text(json.dumps(results), encoding="utf-8")


@contextmanager
def timed_digests() -> Iterator[list[float]]:
    """Collect the seconds of every call that writes or verifies digests."""
    seconds: list[float] = []

    def with_timer(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def call(folder: Path) -> Any:
            started = time.monotonic()
            try:
                return function(folder)
            finally:
                seconds.append(time.monotonic() - started)

        return call

    originals = {name: getattr(cache, name) for name in ("_write_digests", "_describe_damage")}
    try:
        for name, function in originals.items():
            setattr(cache, name, with_timer(function))
        yield seconds
    finally:
        for name, function in originals.items():
            setattr(cache, name, function)
