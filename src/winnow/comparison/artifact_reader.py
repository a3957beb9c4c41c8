"""Read run artifacts, and record a note for each artifact that is missing or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from yaml import YAMLError

from winnow.config import load_stored_config
from winnow.tracking.keys import (
    FILTER_SUMMARY,
    METRIC_TABLE,
    OVERRIDES,
    PREDICTED_WORDS,
    PROBE_WORDS,
    PROMPT_RESULTS,
    RECIPE,
    RESOLVED_CONFIG,
    ROW_SCORES,
)
from winnow.tracking.metric_table import has_metric_table, parse_metric_table
from winnow.tracking.run_queries import fetch_artifact, iter_metric_histories

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

    from winnow.comparison.collected_study import CollectedCell

TABLE_LABELS = {PROMPT_RESULTS: "scores per prompt", PREDICTED_WORDS: "fills per prompt", ROW_SCORES: "losses per row"}
ARTIFACT_COLUMNS = {
    ROW_SCORES: [
        *("stage", "split", "row_id", "source", "loss_sum", "masked", "top1", "top5", "slices"),
        *("cluster", "cluster_kind"),
    ],
    PREDICTED_WORDS: ["stage", "probe", "prompt", "word", "probability"],
}
"""The columns to read from each Parquet artifact. All columns are read from artifacts that are not listed here."""

MAX_CURVE_RUNS = 60
"""The maximum number of runs whose curves are read. At least 3 runs per arm are always read."""


class ArtifactReader:
    """Reads the artifacts of runs from a store.

    Attributes:
        notes: A sentence for each artifact that could not be read.
    """

    def __init__(self, client: MlflowClient, runs: Iterable[Any]) -> None:
        self._client = client
        self._roots = {run.info.run_id: urlparse(run.info.artifact_uri) for run in runs}
        self.notes: list[str] = []

    def get_path(self, run_id: str, artifact: str) -> Path | None:
        """Return the local path of an artifact, or ``None`` if there is none. Remote artifacts are downloaded."""
        root = self._roots[run_id]
        if root.scheme in ("", "file"):
            path = Path(unquote(root.path)) / artifact
            return path if path.exists() else None
        return fetch_artifact(self._client, run_id, artifact)

    def read_json(self, run_id: str, artifact: str) -> dict[str, Any] | None:
        """Return a JSON artifact, or ``None`` if it is missing, damaged or not a JSON object."""
        path = self.get_path(run_id, artifact)
        if path is None:
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            self.notes.append(f"{artifact} of run {run_id} is not valid JSON and was ignored.")
            return None
        return content if isinstance(content, dict) else None

    def read_table(self, cells: Sequence[CollectedCell], artifact: str) -> pd.DataFrame:
        """Read a Parquet artifact of all cells into one data frame whose first columns are ``arm`` and ``seed``.

        String columns are categorical, so each distinct string is stored only once, and the tables of 1,000 runs fit
        into memory.
        """
        import pandas as pd
        import pyarrow as pa

        tables, missing_cells = [], []
        for cell in cells:
            table = self._read_parquet(cell.run_id, artifact)
            if table is None:
                missing_cells.append(f"{cell.arm} seed {cell.seed}")
                continue
            size = table.num_rows
            arm = pa.DictionaryArray.from_arrays(pa.array([0] * size, pa.int32()), [cell.arm])
            table = table.add_column(0, "seed", pa.array([cell.seed] * size, pa.int64()))
            tables.append(table.add_column(0, "arm", arm))
        if missing_cells and artifact in TABLE_LABELS:
            self.notes.append(
                f"The {TABLE_LABELS[artifact]} ({artifact}) could not be read for {_list_names(missing_cells)}. "
                "Results that require this artifact use the runs' summary metrics instead, or are omitted."
            )
        if not tables:
            return pd.DataFrame()
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().to_pandas()
        return frame

    def add_tabulated_metrics(self, cell: CollectedCell) -> CollectedCell:
        """Return the cell with the metrics in its table of metrics, if it has one."""
        table = self.read_json(cell.run_id, METRIC_TABLE) if has_metric_table(cell.tags) else None
        return replace(cell, metrics={**cell.metrics, **parse_metric_table(table)}) if table else cell

    def read_filter_summaries(self, cells: Iterable[CollectedCell]) -> dict[str, dict[str, Any]]:
        """Return the filter summary of each arm, from the first cell of the arm that has one."""
        summaries: dict[str, dict[str, Any]] = {}
        for cell in cells:
            if cell.arm not in summaries and (summary := self.read_json(cell.run_id, FILTER_SUMMARY)):
                summaries[cell.arm] = summary
        return summaries

    def read_probe_words(self, cells: Iterable[CollectedCell]) -> dict[str, dict[str, dict[str, Any]]]:
        """Return each arm's summary of its probes' words, read from the first cell of the arm that has a summary."""
        summaries: dict[str, dict[str, dict[str, Any]]] = {}
        for cell in cells:
            if cell.arm not in summaries and (summary := self.read_json(cell.run_id, PROBE_WORDS)):
                summaries[cell.arm] = summary
        return summaries

    def read_overrides(self, cells: Iterable[CollectedCell]) -> dict[str, list[str]]:
        """Return the command-line overrides of each arm, read from the first cell of the arm that has a file."""
        overrides: dict[str, list[str]] = {}
        for cell in cells:
            if cell.arm not in overrides and (path := self.get_path(cell.run_id, OVERRIDES)):
                overrides[cell.arm] = path.read_text(encoding="utf-8").splitlines()
        return overrides

    def read_settings(self, cells: Iterable[CollectedCell]) -> dict[str, list[dict[str, Any]]]:
        """Return the distinct resolved configurations of each arm.

        Runs with the same recipe have the same settings, so only one configuration per recipe is read. An arm is
        omitted if the configuration of one of its recipes cannot be read.
        """
        runs: dict[str, dict[str, list[str]]] = {}
        for cell in cells:
            runs.setdefault(cell.arm, {}).setdefault(cell.tags.get(RECIPE, cell.run_id), []).append(cell.run_id)
        settings = {arm: [self._read_config(run_ids) for run_ids in recipes.values()] for arm, recipes in runs.items()}
        return {arm: [tree for tree in trees if tree] for arm, trees in settings.items() if all(trees)}

    def _read_config(self, run_ids: Iterable[str]) -> dict[str, Any] | None:
        """Return the first readable configuration among runs that have the same settings; ``None`` if there is none."""
        for run_id in run_ids:
            path = self.get_path(run_id, RESOLVED_CONFIG)
            try:
                if path is not None and (tree := load_stored_config(path.read_text(encoding="utf-8"))):
                    return tree
            except (OSError, ValueError, TypeError, YAMLError):
                self.notes.append(f"{RESOLVED_CONFIG} of run {run_id} is not valid YAML and was ignored.")
        return None

    def read_curves(self, cells: Sequence[CollectedCell], metrics: Sequence[str]) -> pd.DataFrame:
        """Return the metrics by step as a table with columns ``arm``, ``seed``, ``metric``, ``step`` and ``value``.

        If a step was logged twice because the run resumed, the last value is used. MLflow requires one request per
        curve, so with many runs, only the first seeds of each arm are read.
        """
        import pandas as pd

        runs_per_arm = max(3, MAX_CURVE_RUNS // max(1, len({cell.arm for cell in cells})))
        counts: dict[str, int] = {}
        entries = []
        for cell in cells:
            counts[cell.arm] = counts.get(cell.arm, 0) + 1
            if counts[cell.arm] <= runs_per_arm:
                logged_metrics = [metric for metric in metrics if metric in cell.metrics]
                entries += [
                    (cell.arm, cell.seed, *point)
                    for point in iter_metric_histories(self._client, cell.run_id, logged_metrics)
                ]
        frame = pd.DataFrame(entries, columns=["arm", "seed", "metric", "step", "value"])
        return frame.drop_duplicates(["arm", "seed", "metric", "step"], keep="last")

    def _read_parquet(self, run_id: str, artifact: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.get_path(run_id, artifact)
        if path is None:
            return None
        try:
            metadata = pq.read_metadata(path)
            schema = metadata.schema.to_arrow_schema()
            columns = [name for name in ARTIFACT_COLUMNS.get(artifact, schema.names) if name in schema.names]
            strings = [name for name in columns if pa.types.is_string(schema.field(name).type)]
            # There may be a thousand small files, for which threads and `read_table` would only add overhead.
            with pq.ParquetFile(path, metadata=metadata, read_dictionary=strings) as file:
                table = file.read(columns=columns, use_threads=False)
        except (pa.ArrowException, OSError):
            return None
        return _expand_slices(table) if artifact == ROW_SCORES else table


def _expand_slices(table: Any) -> Any:
    """Replace the list column ``slices`` with one boolean column ``slice:NAME`` per slice."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if "slices" not in table.column_names:
        return table
    slices = table["slices"].combine_chunks()
    row_indices, names = pc.list_parent_indices(slices).to_numpy(), pc.list_flatten(slices)
    table = table.drop_columns(["slices"])
    for name in pc.unique(names).to_pylist():
        is_member = np.zeros(len(table), dtype=bool)
        is_member[row_indices[pc.equal(names, name).to_numpy(zero_copy_only=False)]] = True
        table = table.append_column(f"slice:{name}", pa.array(is_member))
    return table


def _list_names(names: Sequence[str], max_names: int = 4) -> str:
    """Return the first ``max_names`` names as text, followed by the number of remaining names."""
    text = ", ".join(names[:max_names])
    return f"{text} and {len(names) - max_names} more" if len(names) > max_names else text
