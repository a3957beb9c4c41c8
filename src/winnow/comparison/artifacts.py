"""Reading what runs left in the artifact store, with a note for whatever is gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from winnow.tracking.keys import FILLS, FILTER_SUMMARY, PROMPTS, ROWS
from winnow.tracking.offline.waiting import CHECK_SECONDS, within
from winnow.tracking.query import artifact_path, histories

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

    from winnow.comparison.collected_study import Cell

NAMES = {PROMPTS: "scores per prompt", FILLS: "fills per prompt", ROWS: "losses per row"}
COLUMNS = {
    ROWS: ["stage", "split", "row_id", "source", "loss_sum", "masked", "top1", "top5", "slices"],
    FILLS: ["stage", "probe", "prompt", "word", "probability"],
}
"""The columns that a comparison needs of an artifact, where it does not need all."""

MOST_CURVES = 60
"""Runs whose curves are drawn; an arm shows at least 3."""


class Artifacts:
    """Reads artifacts of runs from one store and keeps notes on those it could not read."""

    def __init__(self, client: MlflowClient, runs: Iterable[Any]) -> None:
        self._client = client
        self._roots = {run.info.run_id: urlparse(run.info.artifact_uri) for run in runs}
        self.notes: list[str] = []

    def path(self, run_id: str, artifact: str) -> Path | None:
        """Return a local path of an artifact, fetched if remote; ``None`` where there is none."""
        root = self._roots[run_id]
        if root.scheme in ("", "file"):
            path = Path(unquote(root.path)) / artifact
            return path if path.exists() else None
        found = artifact_path(self._client, run_id, artifact)
        if found is None:  # a server that no longer answers would be waited for at every artifact of every run
            within(CHECK_SECONDS, lambda: self._client.search_experiments(max_results=1))
        return found

    def read_json(self, run_id: str, artifact: str) -> dict[str, Any] | None:
        """Return a JSON artifact, or ``None`` where it is absent or broken."""
        path = self.path(run_id, artifact)
        if path is None:
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            self.notes.append(f"{artifact} of run {run_id} is broken and was left out.")
            return None
        return found if isinstance(found, dict) else None

    def table(self, cells: Sequence[Cell], artifact: str) -> pd.DataFrame:
        """Return one parquet artifact of all cells as one frame, ``arm`` and ``seed`` in front; texts are categories.

        Texts repeat in every run, so they are kept as dictionaries: a thousand runs fit into memory.
        """
        import pandas as pd
        import pyarrow as pa

        tables, absent = [], []
        for cell in cells:
            table = self._read_parquet(cell.run_id, artifact)
            if table is None:
                absent.append(f"{cell.arm} seed {cell.seed}")
                continue
            size = table.num_rows
            arm = pa.DictionaryArray.from_arrays(pa.array([0] * size, pa.int32()), [cell.arm])
            table = table.add_column(0, "seed", pa.array([cell.seed] * size, pa.int64()))
            tables.append(table.add_column(0, "arm", arm))
        if absent and artifact in NAMES:
            self.notes.append(
                f"The {NAMES[artifact]} ({artifact}) could not be read for {_listed(absent)}; what rests on "
                "them is told from the run's summary metrics instead, or left out."
            )
        if not tables:
            return pd.DataFrame()
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().to_pandas()
        return frame

    def filter_summaries(self, cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
        """Return each arm's filter summary, taken from the first of its cells that has one."""
        found: dict[str, dict[str, Any]] = {}
        for cell in cells:
            if cell.arm not in found and (summary := self.read_json(cell.run_id, FILTER_SUMMARY)):
                found[cell.arm] = summary
        return found

    def histories(self, cells: Sequence[Cell], metrics: Sequence[str]) -> pd.DataFrame:
        """Return the logged curves: ``arm``, ``seed``, ``metric``, ``step`` and ``value``.

        A step that was logged again after a resume counts once, with its last value. MLflow gives one curve at a time,
        so of many runs the first seeds of each arm are read.
        """
        import pandas as pd

        most = max(3, MOST_CURVES // max(1, len({cell.arm for cell in cells})))
        seen: dict[str, int] = {}
        entries = []
        for cell in cells:
            seen[cell.arm] = seen.get(cell.arm, 0) + 1
            if seen[cell.arm] <= most:
                logged = [metric for metric in metrics if metric in cell.metrics]
                entries += [(cell.arm, cell.seed, *point) for point in histories(self._client, cell.run_id, logged)]
        frame = pd.DataFrame(entries, columns=["arm", "seed", "metric", "step", "value"])
        return frame.drop_duplicates(["arm", "seed", "metric", "step"], keep="last")

    def _read_parquet(self, run_id: str, artifact: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(run_id, artifact)
        if path is None:
            return None
        try:
            schema = pq.read_schema(path)
            columns = [name for name in COLUMNS.get(artifact, schema.names) if name in schema.names]
            texts = [name for name in columns if pa.types.is_string(schema.field(name).type)]
            # One thread: the files are small, and there may be a thousand.
            table = pq.read_table(path, columns=columns, read_dictionary=texts, use_threads=False)
        except (pa.ArrowException, OSError):
            return None
        return _with_slice_columns(table) if artifact == ROWS else table


def _with_slice_columns(table: Any) -> Any:
    """Turn the list column ``slices`` into one truth column a slice, called ``slice:NAME``."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if "slices" not in table.column_names:
        return table
    slices = table["slices"].combine_chunks()
    owners, names = pc.list_parent_indices(slices).to_numpy(), pc.list_flatten(slices)
    table = table.drop_columns(["slices"])
    for name in pc.unique(names).to_pylist():
        member = np.zeros(len(table), dtype=bool)
        member[owners[pc.equal(names, name).to_numpy(zero_copy_only=False)]] = True
        table = table.append_column(f"slice:{name}", pa.array(member))
    return table


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Return a few names in words, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
