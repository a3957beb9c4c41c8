"""Compare the arms of a study: collect its runs, analyze them, write the report and store it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from winnow.comparison.analysis import Comparison, analyse
from winnow.comparison.collection import collect
from winnow.comparison.publishing import publish as publish_comparison
from winnow.reporting.comparison_report import write_comparison_report


def compare(
    store_uri: str,
    study: str | Sequence[str],
    output: Path,
    metrics: Sequence[str] = (),
    ui_url: str = "http://127.0.0.1:5000",
    publish: bool = True,
) -> Comparison:
    """Compare the arms of a study, write the report and keep it with the study's runs.

    Writes ``comparison.json``, ``report.html``, ``report.md``, ``tables/`` (CSV and LaTeX) and ``figures/`` (SVG and
    PNG) into ``output``, and logs all of it to MLflow as a run of its own.

    Args:
        store_uri: MLflow tracking URI of the store, as ``sqlite:///outputs/mlflow.db``.
        study: Name of the study, which is its MLflow experiment's; or of several, the first of which declares what is
            compared.
        output: Folder to write into; made where there is none.
        metrics: Metrics that were not declared, to be described too and marked as post hoc.
        ui_url: Where MLflow's pages are, for the report's links to runs.
        publish: Whether to keep the comparison in the store.

    Raises:
        WinnowError: The study is unknown, or has no finished run (key ``study``); the store does not exist
            (``tracking.uri``); the folder cannot be written (``output_dir``).
    """
    collected = collect(store_uri, *([study] if isinstance(study, str) else study))
    comparison = analyse(collected, metrics_too=metrics)
    write_comparison_report(comparison, collected, output, ui_url)
    if publish:
        publish_comparison(comparison, collected, store_uri, output)
    return comparison
