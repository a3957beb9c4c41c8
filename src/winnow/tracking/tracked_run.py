"""What is written to a run: metrics in batches, parameters, tags, artifacts and data sets."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.metrics.metric_names import sanitize_name
from winnow.tracking.keys import CHANGED_PARAMS, FAILURE_REASON, HEARTBEAT
from winnow.tracking.offline.operations import DESCRIPTION, Operation, is_retryable
from winnow.tracking.offline.run_writer import Writer

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclasses.dataclass(frozen=True)
class LoggedDataset:
    """Rows that went into a run.

    Attributes:
        name: What MLflow's pages show.
        digest: A fingerprint of the rows, of our own: MLflow's reads the first 10,000 alone.
        context: What they were for, as `train` or `test`.
        rows: How many.
        source: Where they came from.
    """

    name: str
    digest: str
    context: str
    rows: int
    source: Mapping[str, Any]

    def to_store_fields(self) -> dict[str, str]:
        """Return the data set as texts, as the store takes it."""
        return {
            "name": self.name,
            "digest": self.digest[:36],
            "context": self.context,
            "source": json.dumps(dict(self.source)),
            "profile": json.dumps({"num_rows": self.rows}),
        }


class TrackedRun:
    """One run, addressed by its id and never by MLflow's notion of an active run.

    Metrics are buffered, since one call for many is a hundred times faster than one call each. Whatever the store does
    not take is kept on this machine, so that nothing here fails because of the store.
    """

    def __init__(self, writer: Writer, earlier: Run | None = None, unseen: bool = False) -> None:
        """Wrap a run that is begun or resumed.

        Args:
            writer: What its operations go through.
            earlier: Its state if an earlier attempt has written to it.
            unseen: Whether there is an earlier attempt whose state is not known, since the server does not answer.
                What it has stored is then left out when the operations are sent.
        """
        self._writer = writer
        self._unseen = unseen
        self._flushing = threading.Lock()
        self._metrics: list[tuple[str, float, int, int]] = []
        self._params: dict[str, str] = dict(earlier.data.params) if earlier else {}
        self._to_look_up = set(earlier.data.metrics) if earlier else set()
        self._steps_there: dict[str, set[int]] = {}
        self.clock = MonotonicClock(earlier.info.start_time if earlier else 0)

    @property
    def run_id(self) -> str:
        """The run's id; that of a run begun without the store changes once the store knows it."""
        return self._writer.run_id

    @property
    def client(self) -> MlflowClient:
        """The client of the store."""
        return self._writer.client

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Buffer metrics, under names that MLflow accepts.

        A value that is not finite is skipped, since MLflow would store it as a huge number.
        """
        now = self.clock.milliseconds()
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self._metrics += [(sanitize_name(name), value, now, step) for name, value in finite.items()]

    def buffered(self) -> list[tuple[str, float, int, int]]:
        """Return the metrics that are not written yet: name, value, time and step of each."""
        return self._metrics[:]

    def restore(self, values: Sequence[tuple[str, float, int, int]]) -> None:
        """Buffer metrics of an earlier attempt; those that are stored already are not stored again."""
        self._metrics += [(name, value, now, step) for name, value, now, step in values]

    def flush(self) -> None:
        """Write what is buffered."""
        with self._flushing:
            values = self._metrics[:]
            is_known = self._look_up({name for name, _, _, _ in values})
            if new := [value for value in values if value[3] not in self._steps_there.get(value[0], ())]:
                self._writer.write({"do": "metrics", "values": new, "only_new": self._unseen or not is_known})
            del self._metrics[: len(values)]

    def log_heartbeat(self) -> None:
        """Log that this run's process is alive."""
        self.set_tags({HEARTBEAT: str(self.clock.milliseconds())})

    def send_spooled(self) -> bool:
        """Try to send what the store did not take before; tell whether nothing waits any more."""
        return self._writer.send_spooled()

    def end(self, status: str, cause: str | None = None) -> None:
        """Write what is buffered and set the run's last status, with its cause unless it ended well."""
        if cause is not None:
            self.set_tags({FAILURE_REASON: cause, DESCRIPTION: cause})
        self.flush()
        self._write({"do": "end", "status": status, "time": self.clock.milliseconds()})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Store parameters, each at most 6,000 characters as MLflow demands.

        MLflow never changes a parameter, so an earlier attempt's value stays; what differs now is told in a tag.
        """
        given = {name: str(value)[:6000] for name, value in params.items()}
        changed = {name: value for name, value in given.items() if self._params.get(name, value) != value}
        new = {name: value for name, value in given.items() if name not in self._params}
        self._params |= new
        self._write({"do": "params", "params": new, "only_new": self._unseen})
        if changed:
            self.set_tags({CHANGED_PARAMS: json.dumps(changed, ensure_ascii=False)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Store tags, each at most 8,000 characters as MLflow demands."""
        self._write({"do": "tags", "tags": {name: value[:8000] for name, value in tags.items()}})

    def log_text(self, text: str, path: str) -> None:
        """Store a text as an artifact."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            file.write_text(text, encoding="utf-8")
            self.log_file(file, _folder_of(path))

    def log_json(self, data: Any, path: str) -> None:
        """Store plain data as a JSON artifact."""
        self.log_text(json.dumps(data, indent=2, ensure_ascii=False), path)

    def log_table(self, table: pa.Table, path: str) -> None:
        """Store a table as a parquet artifact."""
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            pq.write_table(table, file)
            self.log_file(file, _folder_of(path))

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
        self._write({"do": "artifact", "file": str(file), "folder": folder})

    def log_folder(self, folder: Path, path: str) -> None:
        """Store all files of a folder as artifacts."""
        self._write({"do": "artifact", "file": str(folder), "folder": path})

    def log_dataset(self, name: str, digest: str, context: str, rows: int, source: Mapping[str, Any]) -> None:
        """Record which rows went in, under a digest of our own."""
        self.log_datasets([LoggedDataset(name, digest, context, rows, source)])

    def log_datasets(self, datasets: Sequence[LoggedDataset]) -> None:
        """Record which rows went in, all in one call."""
        self._write({"do": "datasets", "datasets": [dataset.to_store_fields() for dataset in datasets]})

    def _write(self, operation: Operation) -> None:
        self._writer.write(operation)

    def _look_up(self, names: set[str]) -> bool:
        """Read at which steps an earlier attempt has stored metrics; return whether the store answered."""
        try:
            for name in self._to_look_up & names:
                points = self._writer.request(functools.partial(self.client.get_metric_history, self.run_id, name))
                self._steps_there[name] = {point.step for point in points}
                self._to_look_up.discard(name)
        except Exception as error:
            if not is_retryable(error):
                raise
            return False
        return True


def _folder_of(path: str) -> str | None:
    folder = Path(path).parent.as_posix()
    return None if folder == "." else folder


class MonotonicClock:
    """The time of day, which within a run never goes back, even where the machine's own clock is set back."""

    def __init__(self, earliest: int = 0) -> None:
        self._base = max(earliest, int(time.time() * 1000))
        self._began = time.monotonic()

    def milliseconds(self) -> int:
        """Return the time in milliseconds since 1970."""
        steady = self._base + int((time.monotonic() - self._began) * 1000)
        return max(steady, int(time.time() * 1000))
