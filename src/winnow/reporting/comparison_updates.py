"""Compare a study, or reuse its last comparison if nothing has changed since then."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from winnow.comparison.analysis import Comparison
from winnow.comparison.comparison_inputs import compute_inputs_fingerprint
from winnow.comparison.comparison_logging import describe_study_run
from winnow.comparison.study_reader import StudySelection, select_runs
from winnow.reporting.comparison_report import compare_selection
from winnow.reporting.ngram_tables import build_ngram_console_table
from winnow.tracking.run_queries import find_run
from winnow.tracking.store import Store


@dataclass(frozen=True)
class ComparisonRecord:
    """The stored record of a comparison, used to decide whether the next comparison can be skipped.

    Attributes:
        fingerprint: The fingerprint of the comparison's inputs.
        run_id: The id of the comparison's MLflow run.
        parent_run_ids: The ids of the studies' parent runs that have the verdict in their description.
        paragraphs: The headline, followed by one text per endpoint.
        details: The lines to print below the paragraphs.
        files: The size in bytes of each file of the report, by path relative to the output folder.
    """

    fingerprint: str
    run_id: str
    parent_run_ids: list[str]
    paragraphs: list[str]
    details: str
    files: dict[str, int]


@dataclass(frozen=True)
class ComparisonUpdate:
    """The result of :func:`compare_if_changed`.

    Attributes:
        paragraphs: The headline, followed by one text per endpoint.
        details: The lines to print below the paragraphs; may be empty.
        report: The path of the HTML report.
        is_new: Whether the study was compared again; ``False`` if the last comparison was reused.
    """

    paragraphs: list[str]
    details: str
    report: Path
    is_new: bool


def compare_if_changed(
    store_uri: str,
    study: str | Sequence[str],
    output: Path,
    metrics: Sequence[str] = (),
    ui_url: str = "http://127.0.0.1:5000",
    spool: str | None = None,
) -> ComparisonUpdate:
    """Compare the arms of a study, or reuse the comparison in ``output`` if nothing has changed.

    The study is compared again if a run, an artifact, the declaration, an option, or the version of Winnow or of a
    package changed, or if a file of the report or the comparison's MLflow run was deleted. See
    :func:`winnow.comparison.comparison_inputs.compute_inputs_fingerprint`.

    The arguments and errors are the same as for :func:`winnow.reporting.compare`.
    """
    store = Store(uri=store_uri, artifacts=".", spool=spool or str(output.parent / "unsent"))
    names = [study] if isinstance(study, str) else study
    selection = select_runs(store_uri, *names)
    fingerprint = compute_inputs_fingerprint(selection, {"metrics": list(metrics), "ui_url": ui_url})
    record_file, report = output.with_name(f"{output.name}.record.json"), output / "report.html"
    record = _load_record(record_file)
    if record is not None and record.fingerprint == fingerprint and _is_complete(record, output, selection):
        _add_verdict_to_new_study_runs(record, selection, store, record_file)
        return ComparisonUpdate(record.paragraphs, record.details, report, is_new=False)
    record_file.unlink(missing_ok=True)
    comparison, run_id = compare_selection(selection, output, metrics, ui_url, store)
    record = ComparisonRecord(
        fingerprint,
        run_id or "",
        list(selection.parent_run_ids),
        comparison.paragraphs,
        _format_details(comparison),
        _measure_files(output),
    )
    _save_record(record, record_file)
    return ComparisonUpdate(record.paragraphs, record.details, report, is_new=True)


def _is_complete(record: ComparisonRecord, output: Path, selection: StudySelection) -> bool:
    """Return whether the report files and the MLflow run of an earlier comparison still exist."""
    if any(_measure_files(output).get(name) != size for name, size in record.files.items()):
        return False
    run = find_run(selection.client, record.run_id)
    return run is not None and run.info.lifecycle_stage == "active" and run.info.status == "FINISHED"


def _add_verdict_to_new_study_runs(
    record: ComparisonRecord, selection: StudySelection, store: Store, record_file: Path
) -> None:
    """Add the verdict to the description of parent runs that started after the comparison."""
    new_run_ids = [run_id for run_id in selection.parent_run_ids if run_id not in record.parent_run_ids]
    for run_id in new_run_ids:
        experiment_id = selection.cells[0].experiment_id
        describe_study_run(store, run_id, experiment_id, selection.name, record.paragraphs, record.run_id)
    if new_run_ids:
        known_run_ids = [*record.parent_run_ids, *new_run_ids]
        _save_record(dataclasses.replace(record, parent_run_ids=known_run_ids), record_file)


def _format_details(comparison: Comparison) -> str:
    """Return the table of n-gram baselines and the missing seeds as text."""
    from rich.console import Console

    text = StringIO()
    console = Console(file=text, width=120, highlight=False)
    if table := build_ngram_console_table(comparison):
        console.print(table)
    for arm, seeds in comparison.missing_seeds.items():
        console.print(f"missing  {arm} seed {', '.join(map(str, seeds))}", markup=False, soft_wrap=True)
    return text.getvalue().rstrip()


def _measure_files(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _load_record(file: Path) -> ComparisonRecord | None:
    """Return a stored record, or `None` if there is none or if it cannot be read."""
    try:
        return ComparisonRecord(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _save_record(record: ComparisonRecord, file: Path) -> None:
    temporary = file.with_name(f"{file.name}.new")
    temporary.write_text(json.dumps(dataclasses.asdict(record), indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)
