"""Reading a study's runs, judging whether its arms differ, and telling it: tables, figures and one page.

The room never trains and never imports torch. Its statistics work on any table of arm, seed, item and score.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow.comparison.analysis import Comparison, analyse
    from winnow.comparison.collection import Study, collect
    from winnow.comparison.figures import draw_figures
    from winnow.comparison.fill_tables import fills_by_prompt
    from winnow.comparison.metric_scores import Metric, scores
    from winnow.comparison.power_analysis import Components, components, power, seeds_needed, smallest_difference
    from winnow.comparison.report import write
    from winnow.comparison.resampling import bootstrap_interval, permutation_p
    from winnow.comparison.statistics import Contrast, Summary, contrast, holm, summarise
    from winnow.comparison.table import tables

__all__ = [
    "Comparison",
    "Components",
    "Contrast",
    "Metric",
    "Study",
    "Summary",
    "analyse",
    "bootstrap_interval",
    "collect",
    "compare",
    "components",
    "contrast",
    "draw_figures",
    "fills_by_prompt",
    "holm",
    "permutation_p",
    "power",
    "scores",
    "seeds_needed",
    "smallest_difference",
    "summarise",
    "tables",
    "write",
]

_HOMES = {
    "analysis": ("Comparison", "analyse"),
    "figures": ("draw_figures",),
    "fills": ("fills_by_prompt",),
    "metrics": ("Metric", "scores"),
    "planning": ("Components", "components", "power", "seeds_needed", "smallest_difference"),
    "report": ("write",),
    "runs": ("Study", "collect"),
    "sensitivity": ("bootstrap_interval", "permutation_p"),
    "statistics": ("Contrast", "Summary", "contrast", "holm", "summarise"),
    "table": ("tables",),
}


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
    from winnow.comparison.analysis import analyse
    from winnow.comparison.collection import collect
    from winnow.comparison.publishing import publish as keep
    from winnow.comparison.report import write

    collected = collect(store_uri, *([study] if isinstance(study, str) else study))
    comparison = analyse(collected, metrics_too=metrics)
    write(comparison, collected, output, ui_url)
    if publish:
        keep(comparison, collected, store_uri, output)
    return comparison


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for, so that importing the room stays cheap."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
