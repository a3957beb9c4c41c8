"""Error injection for `survival.py`: flipped bits, killed store creation, killed studies and duplicate commands.

Every measurement runs real commands in separate processes in the current folder.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics

SCORES = ("final/", "before/")
TIMING_METRICS = ("second", "peak_share", "system/")

Start = Callable[[list[str], str], BaseProcess]
"""Starts a command in a new process; the second argument is the name of the output file."""


def local_store(folder: Path) -> Store:
    """Return the store of the commands in a folder."""
    outputs = folder / "outputs"
    return Store(
        uri=f"sqlite:///{outputs}/mlflow.db", artifacts=str(outputs / "artifacts"), spool=str(outputs / "unsent")
    )


def cells(store: Store, study: str) -> list[Any]:
    """Return the runs of a study's cells, ordered by start time."""
    query = f"tags.`{keys.KIND}` = 'cell'"
    return list(store.client().search_runs([store.experiment(study)], query, order_by=["attributes.start_time ASC"]))


def scores(store: Store, run: Any) -> dict[str, float]:
    """Return the scores of a run before and after training."""
    return {
        name: value
        for name, value in read_run_metrics(store.client(), run).items()
        if name.startswith(SCORES) and not any(text in name for text in TIMING_METRICS)
    }


def points(store: Store, run: Any) -> dict[str, list[tuple[int, float]]]:
    """Return all metric values of a run by step."""
    client = store.client()
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in sorted(run.data.metrics)
        if not any(text in name for text in TIMING_METRICS)
    }


def flip_bit(file: Path, rng: random.Random) -> None:
    """Flip one bit of a file."""
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def measure_flips(flips: int, small: list[str], start: Start, rng: random.Random) -> dict[str, Any]:
    """Flip a bit in every kind of cached file, and count the flips that are not reported or that change a score.

    In each round, one file per cache folder is damaged, so that the message about a folder belongs to one flip.
    """
    folder = Path.cwd()
    command = ["train", "study.name=flips", "filter=nike_positive", *small]
    start(command, "flips.txt").join()
    store, cache = local_store(folder), folder / "outputs/cache"
    (first,) = cells(store, "flips")
    expected, done, silent, rounds, kinds = scores(store, first), 0, 0, 0, dict[str, int]()
    while done < flips or rounds < max(len(files) for files in list_files(cache).values()):
        damaged = [files[rounds % len(files)] for files in list_files(cache).values()]
        for file in damaged:
            flip_bit(file, rng)
            kind = f"{file.relative_to(cache).parts[0]}/{file.name}"
            kinds[kind] = kinds.get(kind, 0) + 1
        (folder / "flips.txt").unlink()
        process = start(command, "flips.txt")
        process.join()
        output = (folder / "flips.txt").read_text(encoding="utf-8")
        missed = [file for file in damaged if f"{file.parent.relative_to(folder)} is damaged" not in output]
        same = process.exitcode == 0 and scores(store, cells(store, "flips")[-1]) == expected
        silent += len(missed) if same else len(damaged)
        done += len(damaged)
        rounds += 1
    checkpoints = measure_checkpoint_flips(small, start, rng)
    return {
        "flips": done + checkpoints["flips"],
        "silent": silent + checkpoints["silent"],
        "of": {**kinds, **checkpoints["of"]},
    }


def list_files(cache: Path) -> dict[Path, list[Path]]:
    """Return the files of each published folder of the cache that are not empty."""
    folders: dict[Path, list[Path]] = {}
    for file in sorted(cache.rglob("*")):
        if file.is_file() and not file.name.startswith(".") and file.stat().st_size:
            folders.setdefault(file.parent, []).append(file)
    return folders


def measure_checkpoint_flips(small: list[str], start: Start, rng: random.Random, flips: int = 6) -> dict[str, Any]:
    """Flip a bit in a checkpoint of a killed run, and count the resumed runs that finish with different scores."""
    folder = Path.cwd()
    settings = ["study.compare=false", "filter=full", *small, "training.max_steps=100", "training.keep=best"]
    start(["train", "-m", *settings, "study.name=intact"], "intact.txt").join()
    store = local_store(folder)
    expected = scores(store, cells(store, "intact")[-1])
    kinds = {"last.ckpt": 0, "best.ckpt": 0}
    silent = 0
    for number in range(flips):
        study, kind = f"checkpoint{number}", list(kinds)[number % len(kinds)]
        process = start(["train", "-m", *settings, f"study.name={study}"], "checkpoint.txt")
        checkpoint = wait_for_checkpoint(folder / "outputs" / study, process)
        process.kill()
        process.join()
        flip_bit(checkpoint.with_name(kind), rng)
        kinds[kind] += 1
        process = start(["train", "-m", *settings, f"study.name={study}"], f"{study}.txt")
        process.join()
        newest = cells(store, study)[-1]
        silent += process.exitcode == 0 and scores(store, newest) != expected
    return {"flips": flips, "silent": silent, "of": kinds}


def create_store(folder: str) -> None:
    """Create a store like the first command in a folder."""
    local_store(Path(folder)).client()


def measure_store_kills(kills: int, context: Any, rng: random.Random) -> dict[str, Any]:
    """Kill the creation of a store at random times, and count the stores that cannot be used afterwards."""
    started = time.monotonic()
    process = context.Process(target=create_store, args=("whole",))
    process.start()
    process.join()
    full_time, unusable, had_files = time.monotonic() - started, 0, []
    for number in range(kills):
        process = context.Process(target=create_store, args=(f"killed{number}",))
        process.start()
        process.join(rng.uniform(0, full_time))
        if process.is_alive():
            process.kill()
            process.join()
            had_files.append(any(Path(f"killed{number}").rglob("mlflow.db*")))
        second_attempt = context.Process(target=create_store, args=(f"killed{number}",))
        second_attempt.start()
        second_attempt.join()
        unusable += second_attempt.exitcode != 0
    return {"kills": kills, "while_it_was_created": sum(had_files), "dead": unusable}


def measure_twins(rounds: int, small: list[str], start: Start, rng: random.Random) -> dict[str, Any]:
    """Start the same single run twice, and count the rounds in which one damages the other."""
    folder = Path.cwd()
    command = ["train", "filter=full", *small, "training.max_steps=100"]
    started = time.monotonic()
    start([*command, "study.name=alone"], "alone.txt").join()
    full_time, store = time.monotonic() - started, local_store(folder)
    expected = points(store, cells(store, "alone")[0])
    damaged, refused = 0, 0
    for number in range(rounds):
        study = f"twins{number}"
        first = start([*command, f"study.name={study}"], f"{study}a.txt")
        time.sleep(rng.uniform(0, 0.8 * full_time))
        second = start([*command, f"study.name={study}"], f"{study}b.txt")
        codes = []
        for process in (first, second):
            process.join()
            codes.append(process.exitcode)
        output = "".join((folder / f"{study}{name}.txt").read_text(encoding="utf-8") for name in "ab")
        refused += "another process is training this cell" in " ".join(output.split())
        runs = cells(store, study)
        is_intact = all(run.info.status == "FINISHED" and points(store, run) == expected for run in runs)
        expected_codes = sorted(codes) in ([0, 0], [0, 1]) and "Traceback" not in output
        damaged += not (runs and is_intact and expected_codes)
    return {"rounds": rounds, "refused": refused, "damaged": damaged}


def measure_overlap(rounds: int, small: list[str], grid: list[str], start: Start, rng: random.Random) -> Any:
    """Start one grid in two processes, and count the cells that are trained twice."""
    trained_twice, failed, shared = 0, 0, 0
    store = local_store(Path.cwd())
    for number in range(rounds):
        study = f"grid{number}"
        command = ["train", "-m", *grid, f"study.name={study}", *small]
        first = start(command, f"{study}a.txt")
        time.sleep(rng.uniform(0, 4))
        second = start(command, f"{study}b.txt")
        for process in (first, second):
            process.join()
            failed += process.exitcode != 0
        runs = cells(store, study)
        ids = [run.data.tags[keys.CELL_ID] for run in runs]
        trained_twice += len(ids) - len(set(ids)) + sum(int(run.data.tags.get(keys.ATTEMPTS, "1")) > 1 for run in runs)
        failed += sum(run.info.status != "FINISHED" for run in runs)
        shared += len({run.data.tags[keys.RUN_OWNER] for run in runs}) > 1
    return {"rounds": rounds, "rounds_in_which_both_trained": shared, "failed": failed, "trained_twice": trained_twice}


def measure_workers(rounds: int, small: list[str], start: Start) -> dict[str, Any]:
    """Kill a study with two joblib workers, and count the processes that outlive it by more than 40 seconds."""
    folder = Path.cwd()
    grid = ["filter=full", "seed=1,2,3,4", "launcher=joblib", "launcher.workers=2", *small]
    left, longest = 0, 0.0
    for number in range(rounds):
        study = f"workers{number}"
        process = start(["train", "-m", *grid, "training.max_steps=100000", f"study.name={study}"], f"{study}.txt")
        wait_for_checkpoint(folder / "outputs" / study, process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.join()
        killed = time.monotonic()
        alive = psutil.wait_procs(children, timeout=40)[1]
        left += sum(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in alive)
        longest = max(longest, time.monotonic() - killed)
    return {"rounds": rounds, "left": left, "seconds_until_all_ended": round(longest, 1)}


def wait_for_checkpoint(folder: Path, process: BaseProcess) -> Path:
    """Wait for the first checkpoint of a study, and return its path."""
    while process.is_alive():
        if checkpoints := list(folder.glob("cells/*/last.ckpt")):
            return checkpoints[0]
        time.sleep(0.005)
    raise RuntimeError(f"no checkpoint was saved in {folder}")
