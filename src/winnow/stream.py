"""Filter rows as they arrive, and compare models of the filtered and of all rows once enough rows have accumulated."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.api import Study, train
from winnow.config import FilterConfig, compose_cells, construct
from winnow.data.integrity import Check
from winnow.data.streamed_corpus import StreamedCorpus, to_rows_table
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter, compute_filter_statistics, save_dropped, save_kept, save_statistics
from winnow.filters.verdicts import Verdicts
from winnow.reporting import write_filter_report

REFRESH_SECONDS = 5
"""While rows are logged, the health page is written at most this often. A browser reloads it at the same interval."""

_FILTER_CONFIG = """# The decisions of a winnow.Stream.
_target_: winnow.filters.Filter
name: {name}
signals:
  kept: {{_target_: winnow.filters.Column, column: kept, at_least: 1}}
keep: kept
"""


class Stream:
    """Rows that arrive in batches, for example from a service: each row is checked, cleaned, scored and filtered.

    The folder holds the raw rows, the page :attr:`health` and the files of ``winnow filter``. Opening the folder again
    continues the stream. The decisions equal those of ``winnow filter`` on the same rows.

    Args:
        filter: A filter, or the name of a filter in ``conf/filter``.
        folder: The folder of the stream. Its name is the name of the dataset and of the study that :meth:`train` runs.
        checks: Integrity checks for the raw rows, by name.
        output_dir: The folder with the embedded store, as in the configuration.
    """

    def __init__(
        self,
        filter: Filter | str,
        folder: str | Path,
        checks: Mapping[str, Check] | None = None,
        output_dir: str | Path = "outputs",
    ) -> None:
        self.filter = _load_filter(filter) if isinstance(filter, str) else filter
        self.folder, self.output_dir = Path(folder), Path(output_dir)
        self._corpus = StreamedCorpus(self.folder.name, checks)
        self._verdicts: list[Verdicts] = []
        self._last_refresh = float("-inf")
        if errors := [error.with_prefix("filter") for error in self.filter.check()]:
            raise WinnowErrors(errors)
        self._batches = self.folder / "logged"
        self._batches.mkdir(parents=True, exist_ok=True)
        for file in sorted(self._batches.glob("*.parquet")):
            self._add(pq.read_table(file))

    def log(self, rows: Any) -> int:
        """Store and filter rows, and update the health page.

        Args:
            rows: Texts, dicts with the key ``text``, a pandas DataFrame or an Arrow table.

        Returns:
            The number of rows kept so far.

        Raises:
            WinnowError: If the rows have no texts, if they fail a check whose action is ``fail``, or if a signal fails.
                The rows are not stored.
        """
        table = to_rows_table(rows)
        self._add(table)
        pq.write_table(table, self._batches / f"{len(self._verdicts):06d}.parquet")
        if time.monotonic() - self._last_refresh >= REFRESH_SECONDS:
            self._write_results()
        return self.kept

    @property
    def health(self) -> Path:
        """The path of the page with the failed checks, the kept rows and the reasons for dropping rows."""
        return self._write_results()

    @property
    def rows(self) -> int:
        """The number of clean, unique rows so far."""
        return sum(verdicts.table.num_rows for verdicts in self._verdicts)

    @property
    def kept(self) -> int:
        """The number of rows kept so far."""
        return sum(int(verdicts.keep_mask().sum()) for verdicts in self._verdicts)

    def ready(self, min_rows: int) -> bool:
        """Return whether at least this number of rows has been kept."""
        return self.kept >= min_rows

    def train(self, *overrides: str) -> Study:
        """Train on all rows, on the kept rows and on as many random rows, and compare the models.

        The study has the name of the folder and five seeds. The arms are ``full``, the filter and its random control.

        Args:
            overrides: Further settings as on the command line of ``winnow train -m``, such as ``seed=1,2,3``.

        Raises:
            WinnowErrors: If a setting is invalid.
            WinnowError: If a run fails.
        """
        self._write_results()
        corpus, verdicts = self._corpus.corpus, self._join_verdicts()
        kept = pa.array(verdicts.keep_mask().astype(int), pa.int64())
        pq.write_table(corpus.table.select(["text"]).append_column("kept", kept), self.folder / "rows.parquet")
        name = self.folder.name
        settings = [
            "dataset=csv",
            f"dataset.name={name}",
            f"dataset.source.path='{self.folder / 'rows.parquet'}'",
            "dataset.source.text=[text]",
            "+dataset.source.columns=[kept]",
            f"filter=full,stream_{self.filter.name}",
            "seed=1,2,3,4,5",
            "study.controls=auto",
            f"study.name={name}",
            f"output_dir='{self.output_dir}'",
        ]
        changed = {text.partition("=")[0] for text in overrides}
        settings = [text for text in settings if text.partition("=")[0] not in changed]
        return train(*settings, *overrides, config_dirs=[self._write_filter_config()])

    def _write_filter_config(self) -> Path:
        """Write a filter that reads the stream's decisions from the column ``kept``, and return the folder ``conf``."""
        file = self.folder / "conf" / "filter" / f"stream_{self.filter.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_FILTER_CONFIG.format(name=self.filter.name), encoding="utf-8")
        return self.folder / "conf"

    def _add(self, rows: pa.Table) -> None:
        batch = self._corpus.clean(rows)
        verdicts = self.filter.score_rows(batch.table)
        self._corpus.append(batch)
        self._verdicts.append(verdicts)

    def _join_verdicts(self) -> Verdicts:
        first = self._verdicts[0]
        seconds = {name: sum(verdicts.seconds[name] for verdicts in self._verdicts) for name in first.seconds}
        table = pa.concat_tables([verdicts.table for verdicts in self._verdicts]).combine_chunks()
        return dataclasses.replace(first, table=table, seconds=seconds)

    def _write_results(self) -> Path:
        """Write the health page and the files of ``winnow filter``; return the path of the page."""
        if not self.rows:
            raise WinnowError(f"the stream {self.folder} has no rows. Log some rows first.", "rows")
        corpus, verdicts = self._corpus.corpus, self._join_verdicts()
        statistics = compute_filter_statistics(verdicts, corpus)
        verdicts.save(self.folder)
        save_statistics(statistics, self.folder)
        save_kept(self.filter.select(corpus.split("train"), verdicts, seed=0), self.folder)
        save_dropped(verdicts.dropped_rows(corpus), self.folder)
        page = write_filter_report(
            verdicts,
            corpus,
            statistics,
            self.filter.signals,
            self.folder,
            save_figures=False,
            refresh_seconds=REFRESH_SECONDS,
        )
        self._last_refresh = time.monotonic()
        return page


def _load_filter(name: str) -> Filter:
    cells, _ = compose_cells("filter", FilterConfig, [f"filter={name}"])
    config = cells[0].config
    return construct(config.filter, "filter", Filter, config.allow_targets)
