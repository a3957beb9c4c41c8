"""What is written to a run: metrics in batches, parameters, tags, artifacts and data sets."""

from __future__ import annotations

import json
import math
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.tracking.record import BEAT, CHANGED

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

BATCH = 1000
"""Metrics that MLflow takes in one call."""


class TrackedRun:
    """One MLflow run, addressed by its id and never by MLflow's notion of an active run.

    Metrics are buffered, since one call for many is a hundred times faster than one call each.
    """

    def __init__(self, client: MlflowClient, run_id: str, earlier: Run | None = None) -> None:
        """Take up a run; `earlier` is its state where an earlier attempt has written to it."""
        self.client = client
        self.run_id = run_id
        self.clock = Clock(earlier.info.start_time if earlier else 0)
        self._metrics: list[Metric] = []
        self._sending = threading.Lock()
        self._params: dict[str, str] = dict(earlier.data.params) if earlier else {}
        self._to_look_up = set(earlier.data.metrics) if earlier else set()
        self._steps_there: dict[str, set[int]] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Buffer metrics; what is not a finite number is left out, since MLflow would store it as a huge one."""
        from mlflow.entities import Metric

        now = self.clock.milliseconds()
        self._metrics += [
            Metric(name, float(value), now, step) for name, value in metrics.items() if math.isfinite(value)
        ]
        if len(self._metrics) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what is buffered."""
        with self._sending:
            while batch := self._metrics[:BATCH]:
                if new := [metric for metric in batch if not self._is_there(metric)]:
                    self.client.log_batch(self.run_id, metrics=new)
                del self._metrics[: len(batch)]

    def beat(self) -> None:
        """Tell that this run's process lives."""
        self.set_tags({BEAT: str(self.clock.milliseconds())})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Store parameters, each at most 6,000 characters as MLflow demands.

        MLflow never changes a parameter, so an earlier attempt's value stays; what differs now is told in a tag.
        """
        from mlflow.entities import Param

        given = {name: str(value)[:6000] for name, value in params.items()}
        changed = {name: value for name, value in given.items() if self._params.get(name, value) != value}
        entries = [Param(name, value) for name, value in given.items() if name not in self._params]
        self._params |= {entry.key: entry.value for entry in entries}
        for start in range(0, len(entries), 100):
            self.client.log_batch(self.run_id, params=entries[start : start + 100])
        if changed:
            self.set_tags({CHANGED: json.dumps(changed, ensure_ascii=False)})

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

    def log_columns(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Store rows as a table that MLflow's pages show across runs, and that `mlflow.load_table` reads.

        This is what MLflow's own `log_table` leaves, by our own way of writing.
        """
        columns = list(rows[0]) if rows else []
        data = [[row.get(name) for name in columns] for row in rows]
        self.log_text(json.dumps({"columns": columns, "data": data}, ensure_ascii=False), path)
        self.set_tags({"mlflow.loggedArtifacts": json.dumps([{"path": path, "type": "table"}])})

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

    def _is_there(self, metric: Metric) -> bool:
        """Tell whether an earlier attempt has stored a value of this metric at this step."""
        if metric.key in self._to_look_up:
            self._to_look_up.discard(metric.key)
            history = self.client.get_metric_history(self.run_id, metric.key)
            self._steps_there[metric.key] = {point.step for point in history}
        return metric.step in self._steps_there.get(metric.key, ())


class Clock:
    """The time of day, which within a run never goes back, even where the machine's own clock is set back."""

    def __init__(self, earliest: int = 0) -> None:
        self._base = max(earliest, int(time.time() * 1000))
        self._began = time.monotonic()

    def milliseconds(self) -> int:
        """Return the time in milliseconds since 1970."""
        steady = self._base + int((time.monotonic() - self._began) * 1000)
        return max(steady, int(time.time() * 1000))
