import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.tracking import Store, keys, track


def get_only_run(store: Store):
    (run,) = store.client().search_runs([store.experiment("study")])
    return run


def test_a_completed_run_is_finished_and_contains_everything_logged(store: Store, tmp_path: Path) -> None:
    table = pa.table({"row_id": ["a", "b"], "loss_sum": [1.5, 2.5]})
    with track(store, store.experiment("study"), "full seed 1", {keys.ARM: "full"}) as run:
        for step in range(2500):
            run.log_metrics({"train/loss": 1 / (step + 1), "undefined": float("nan")}, step)
        run.log_params({"optimizer.lr": 0.1})
        run.log_table(table, keys.ROW_SCORES)
        run.log_json({"kept": 3}, "filter/summary.json")
    stored_run = get_only_run(store)
    assert stored_run.info.status == "FINISHED"
    assert stored_run.data.tags[keys.ARM] == "full"
    assert stored_run.data.params == {"optimizer.lr": "0.1"}
    history = store.client().get_metric_history(run.run_id, "train/loss")
    assert sorted(metric.step for metric in history) == list(range(2500))
    assert "undefined" not in stored_run.data.metrics
    folder = Path(store.client().download_artifacts(run.run_id, "", str(tmp_path)))
    assert pq.read_table(folder / keys.ROW_SCORES).equals(table)
    assert json.loads((folder / "filter/summary.json").read_text()) == {"kept": 3}


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no such column"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(3), "KILLED")],
)
def test_a_run_with_an_exception_stores_its_status_and_reason(store: Store, error: BaseException, status: str) -> None:
    def raise_in_run() -> None:
        with track(store, store.experiment("study"), "x", {}) as run:
            run.log_metrics({"train/loss": 2.0}, 7)
            raise error

    with pytest.raises(type(error)):
        raise_in_run()
    stored_run = get_only_run(store)
    assert stored_run.info.status == status
    assert stored_run.info.end_time is not None
    assert type(error).__name__ in stored_run.data.tags[keys.FAILURE_REASON]
    assert stored_run.data.metrics == {"train/loss": 2.0}, "buffered metrics are written"


@pytest.mark.slow
def test_sigterm_sets_the_status_killed_and_the_exit_code_143(store: Store, tmp_path: Path) -> None:
    store.experiment("study")
    code = (
        "import time\n"
        "from winnow.tracking import Store, track\n"
        f"store = Store(uri={store.uri!r}, artifacts={store.artifacts!r})\n"
        "with track(store, store.experiment('study'), 'x', {}):\n"
        "    print('started', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert get_only_run(store).info.status == "KILLED"


def test_a_dataset_is_stored_with_its_digest(store: Store) -> None:
    with track(store, store.experiment("study"), "x", {}) as run:
        run.log_dataset("nike (full)", "0123456789abcdef", "train", 26000, {"kind": "csv"})
    (entry,) = get_only_run(store).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("nike (full)", "0123456789abcdef")
    assert json.loads(entry.dataset.profile) == {"num_rows": 26000}


def test_a_run_has_tags_for_its_parent_and_command(store: Store) -> None:
    experiment = store.experiment("study")
    with (
        track(store, experiment, "study", {}) as parent,
        track(store, experiment, "cell", {}, parent.run_id) as cell,
    ):
        pass
    tags = store.client().get_run(cell.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent.run_id
    assert tags["winnow.argv"] == " ".join(sys.argv[1:])
