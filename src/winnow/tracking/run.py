"""The life of a run: begun, filled and ended by the harness itself, with the right status however it ends."""

from __future__ import annotations

import json
import math
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from winnow.tracking.environment import provenance_tags
from winnow.tracking.record import CAUSE
from winnow.tracking.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient

BATCH = 1000
"""Metrics that MLflow takes in one call."""


class TrackedRun:
    """One MLflow run, addressed by its id and never by MLflow's notion of an active run.

    Metrics are buffered, since one call for many is a hundred times faster than one call each.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self._metrics: list[Any] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Buffer metrics; what is not a finite number is left out, since MLflow would store it as a huge one."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._metrics += [
            Metric(name, float(value), now, step) for name, value in metrics.items() if math.isfinite(value)
        ]
        if len(self._metrics) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what is buffered."""
        while self._metrics:
            self.client.log_batch(self.run_id, metrics=self._metrics[:BATCH])
            del self._metrics[:BATCH]

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Store parameters, each at most 6,000 characters as MLflow demands."""
        from mlflow.entities import Param

        entries = [Param(name, str(value)[:6000]) for name, value in params.items()]
        for start in range(0, len(entries), 100):
            self.client.log_batch(self.run_id, params=entries[start : start + 100])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Store tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(name, value[:8000]) for name, value in tags.items()])

    def log_text(self, text: str, path: str) -> None:
        """Store a text as an artifact."""
        self.client.log_text(self.run_id, text, path)

    def log_json(self, data: Any, path: str) -> None:
        """Store plain data as a JSON artifact."""
        self.log_text(json.dumps(data, indent=2, ensure_ascii=False), path)

    def log_table(self, table: pa.Table, path: str) -> None:
        """Store a table as a parquet artifact."""
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            pq.write_table(table, file)
            self.log_file(file, Path(path).parent.as_posix())

    def log_file(self, file: Path, folder: str | None = None) -> None:
        """Store a file as an artifact."""
        self.client.log_artifact(self.run_id, str(file), folder)

    def log_folder(self, folder: Path, path: str) -> None:
        """Store all files of a folder as artifacts."""
        self.client.log_artifacts(self.run_id, str(folder), path)

    def log_dataset(self, name: str, digest: str, context: str, rows: int, source: Mapping[str, Any]) -> None:
        """Record which rows went in, under a digest of our own.

        MLflow's own digest reads the first 10,000 rows only, so it cannot tell filtered data from full.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest[:36], "winnow", json.dumps(dict(source)), profile=json.dumps({"num_rows": rows}))
        tag = InputTag("mlflow.data.context", context)
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [tag])])


@contextmanager
def track(
    store: Store, experiment_id: str, name: str, tags: Mapping[str, str], parent: str | None = None
) -> Iterator[TrackedRun]:
    """Begin a run and end it with the status it deserves.

    The run ends FINISHED when the block does, KILLED on Ctrl-C, SIGTERM or `sys.exit`, and FAILED on any other
    exception, with the cause as a tag. The exception goes on to the caller.
    """
    client = store.client()
    links = {"mlflow.parentRunId": parent} if parent else {}
    created = client.create_run(experiment_id, run_name=name, tags={**provenance_tags(), **links, **tags})
    run = TrackedRun(client, created.info.run_id)
    try:
        with _terminable():
            yield run
            run.flush()
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        _end(run, status, cause=f"{type(error).__name__}: {error}")
        raise
    _end(run, "FINISHED")


def _end(run: TrackedRun, status: str, cause: str | None = None) -> None:
    if cause is not None:
        run.set_tags({CAUSE: cause, "mlflow.note.content": cause})
        run.flush()
    run.client.set_terminated(run.run_id, status)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block by an exception, so that the run is closed; the exit code is 143 as shells expect."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever owns that one handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
