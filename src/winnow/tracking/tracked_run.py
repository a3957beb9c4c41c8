"""Log metrics, parameters, tags, artifacts and datasets to a run."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.metrics.metric_names import sanitize_name
from winnow.tracking.keys import CHANGED_PARAMS, FAILURE_REASON, HEARTBEAT, LOGGED_TABLES, METRIC_TABLE
from winnow.tracking.metric_table import build_metric_rows, format_logged_tables, is_tabulated
from winnow.tracking.offline.run_operations import RUN_DESCRIPTION, Operation, is_retryable_error
from winnow.tracking.offline.run_writer import RunWriter

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclasses.dataclass(frozen=True)
class LoggedDataset:
    """A dataset that a run uses.

    Attributes:
        name: The dataset's name in the MLflow UI.
        digest: Fingerprint of all rows. MLflow's own digest covers only the first 10,000 rows.
        context: The dataset's role, such as `train` or `test`.
        rows: The number of rows.
        source: A description of the origin of the rows.
    """

    name: str
    digest: str
    context: str
    rows: int
    source: Mapping[str, Any]

    def to_store_fields(self) -> dict[str, str]:
        """Return the string fields of the corresponding MLflow dataset."""
        return {
            "name": self.name,
            "digest": self.digest[:36],
            "context": self.context,
            "source": json.dumps(dict(self.source)),
            "profile": json.dumps({"num_rows": self.rows}),
        }


class TrackedRun:
    """A run that is identified by its id and does not depend on MLflow's active run.

    Metrics are buffered, because one call for many metrics is a hundred times faster than one call per metric.
    Operations that the store does not accept are spooled to disk, so a store failure does not make any method fail.
    """

    def __init__(self, writer: RunWriter, stored_run: Run | None = None, has_unknown_state: bool = False) -> None:
        """Wrap a run that was started or resumed.

        Args:
            writer: The writer that performs the run's operations.
            stored_run: The run as stored by an earlier attempt; `None` if the run is new or could not be read.
            has_unknown_state: Whether an earlier attempt is being resumed but could not be read because the server does
                not respond. If so, values that are already stored are skipped when the spooled operations are sent.
        """
        self._writer = writer
        self._has_unknown_state = has_unknown_state
        self._is_resumed = stored_run is not None or has_unknown_state
        self._flush_lock = threading.Lock()
        self._metrics: list[tuple[str, float, int, int]] = []
        self._params: dict[str, str] = dict(stored_run.data.params) if stored_run else {}
        self._unread_metrics = set(stored_run.data.metrics) if stored_run else set()
        self._stored_steps: dict[str, set[int]] = {}
        self._logged_scores: Collection[str] | None = None
        self._tabulated: dict[str, float] = {}
        self._tables: list[str] = []
        self.clock = MonotonicClock(stored_run.info.start_time if stored_run else 0)

    @property
    def run_id(self) -> str:
        """The run's id. A run that started offline has a temporary id until the run is created in the store."""
        return self._writer.run_id

    @property
    def client(self) -> MlflowClient:
        """The store's MLflow client."""
        return self._writer.client

    def log_only(self, scores: Collection[str]) -> None:
        """Log only these scores to MLflow from now on; other scores are saved in a table when the run ends.

        Args:
            scores: Names without a stage; see :func:`winnow.tracking.metric_table.select_logged_scores`.
        """
        self._logged_scores = scores

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Buffer metrics, after replacing characters in their names that MLflow does not accept.

        NaN and infinite values are skipped, because MLflow would store an infinite value as a very large number. The
        table of metrics (see :meth:`log_only`) has only the last value of each metric.
        """
        now = self.clock.milliseconds()
        for name, value in ((sanitize_name(name), float(value)) for name, value in metrics.items()):
            if not math.isfinite(value):
                continue
            if self._logged_scores is not None and is_tabulated(name, self._logged_scores):
                self._tabulated[name] = value
            else:
                self._metrics.append((name, value, now, step))

    @property
    def tabulated_metrics(self) -> dict[str, float]:
        """The metrics that will be saved in the table when the run ends."""
        return dict(self._tabulated)

    def restore_tabulated_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add an earlier attempt's metrics to the table, unless this attempt has newer values."""
        self._tabulated = {**metrics, **self._tabulated}

    def buffered_metrics(self) -> list[tuple[str, float, int, int]]:
        """Return the metrics that have not been written yet, as tuples of name, value, time and step."""
        return self._metrics[:]

    def restore_metrics(self, values: Sequence[tuple[str, float, int, int]]) -> None:
        """Buffer an earlier attempt's metrics; values that are already stored are not logged again."""
        self._metrics += values

    def flush(self) -> None:
        """Write the buffered metrics."""
        with self._flush_lock:
            values = self._metrics[:]
            state_is_known = self._read_stored_steps({name for name, _, _, _ in values})
            if new_values := [value for value in values if self._is_new(value[0], value[3])]:
                self._writer.write(
                    {"do": "metrics", "values": new_values, "only_new": self._has_unknown_state or not state_is_known}
                )
            del self._metrics[: len(values)]

    def _is_new(self, name: str, step: int) -> bool:
        """Return whether a metric has no value at a step yet, and mark this step as logged.

        The steps of a resumed run are tracked because metrics restored from a checkpoint may be logged again.
        """
        if not self._is_resumed:
            return True
        steps = self._stored_steps.setdefault(name, set())
        is_new = step not in steps
        steps.add(step)
        return is_new

    def log_heartbeat(self) -> None:
        """Log the current time as the run's last heartbeat."""
        self.set_tags({HEARTBEAT: str(self.clock.milliseconds())})

    def send_spooled(self) -> bool:
        """Try to send spooled operations; return whether the spool is empty."""
        return self._writer.send_spooled()

    def end(self, status: str, reason: str | None = None) -> None:
        """Write the buffered metrics, then set the run's final status; `reason` states why the run failed."""
        if reason is not None:
            self.set_tags({FAILURE_REASON: reason, RUN_DESCRIPTION: reason})
        if self._tabulated:
            self.log_columns(build_metric_rows(self._tabulated), METRIC_TABLE)
        self.flush()
        self._write({"do": "end", "status": status, "time": self.clock.milliseconds()})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, truncated to MLflow's limit of 6,000 characters.

        MLflow does not allow a parameter to be changed. A value from an earlier attempt is therefore kept, and any
        changed values are stored in a tag.
        """
        values = {name: str(value)[:6000] for name, value in params.items()}
        changed_params = {name: value for name, value in values.items() if self._params.get(name, value) != value}
        new_params = {name: value for name, value in values.items() if name not in self._params}
        self._params |= new_params
        self._write({"do": "params", "params": new_params, "only_new": self._has_unknown_state})
        if changed_params:
            self.set_tags({CHANGED_PARAMS: json.dumps(changed_params, ensure_ascii=False)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, truncated to MLflow's limit of 8,000 characters."""
        self._write({"do": "tags", "tags": {name: value[:8000] for name, value in tags.items()}})

    def log_text(self, text: str, path: str) -> None:
        """Log text as an artifact file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            file.write_text(text, encoding="utf-8")
            self.log_file(file, _parent_folder(path))

    def log_json(self, data: Any, path: str) -> None:
        """Log plain data as a JSON artifact."""
        self.log_text(json.dumps(data, indent=2, ensure_ascii=False), path)

    def log_table(self, table: pa.Table, path: str) -> None:
        """Log a table as a Parquet artifact."""
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            pq.write_table(table, file)
            self.log_file(file, _parent_folder(path))

    def log_columns(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as a table that the MLflow UI can show across runs and that `mlflow.load_table` can read.

        The format is that of `mlflow.log_table`, a function that is not used here because it would bypass the spool.
        """
        column_names = list(rows[0]) if rows else []
        data = [[row.get(name) for name in column_names] for row in rows]
        self.log_text(json.dumps({"columns": column_names, "data": data}, ensure_ascii=False), path)
        self._tables = list(dict.fromkeys([*self._tables, path]))
        self.set_tags({LOGGED_TABLES: format_logged_tables(self._tables)})

    def log_file(self, file: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        self._write({"do": "artifact", "file": str(file), "folder": folder})

    def log_folder(self, folder: Path, path: str) -> None:
        """Log all files in a folder as artifacts."""
        self._write({"do": "artifact", "file": str(folder), "folder": path})

    def log_dataset(self, name: str, digest: str, context: str, rows: int, source: Mapping[str, Any]) -> None:
        """Log a dataset that the run uses, with Winnow's digest of all rows."""
        self.log_datasets([LoggedDataset(name, digest, context, rows, source)])

    def log_datasets(self, datasets: Sequence[LoggedDataset]) -> None:
        """Log several datasets in one call."""
        self._write({"do": "datasets", "datasets": [dataset.to_store_fields() for dataset in datasets]})

    def _write(self, operation: Operation) -> None:
        self._writer.write(operation)

    def _read_stored_steps(self, names: set[str]) -> bool:
        """Read the steps at which an earlier attempt logged the given metrics; return whether the store responded."""
        try:
            for name in self._unread_metrics & names:
                points = self._writer.request(functools.partial(self.client.get_metric_history, self.run_id, name))
                self._stored_steps[name] = {point.step for point in points}
                self._unread_metrics.discard(name)
        except Exception as error:
            if not is_retryable_error(error):
                raise
            return False
        return True


def _parent_folder(path: str) -> str | None:
    folder = Path(path).parent.as_posix()
    return None if folder == "." else folder


class MonotonicClock:
    """A wall clock that never goes backward during a run, even if the system clock is set back."""

    def __init__(self, earliest: int = 0) -> None:
        self._base = max(earliest, int(time.time() * 1000))
        self._start = time.monotonic()

    def milliseconds(self) -> int:
        """Return the time in milliseconds since 1970."""
        monotonic = self._base + int((time.monotonic() - self._start) * 1000)
        return max(monotonic, int(time.time() * 1000))
