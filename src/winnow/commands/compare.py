"""`winnow compare`: compares the arms of one study or of several pooled studies, and writes a report."""

from __future__ import annotations

from winnow.config import CompareConfig, construct
from winnow.reporting import compare_if_changed
from winnow.tracking import Store
from winnow.tracking.csv_writer import store_required_error
from winnow.untrusted_text import sanitize_file_name


def run_compare(config: CompareConfig) -> None:
    """Compare the arms of the configured studies, and print the verdict, the n-gram baselines and the report's path."""
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    if store.is_csv:
        raise store_required_error().with_prefix("tracking")
    studies = [config.study] if isinstance(config.study, str) else config.study
    folder = config.output_dir / sanitize_file_name("+".join(studies)) / "comparison"
    update = compare_if_changed(store.tracking_uri, studies, folder, config.metrics, config.ui_url, store.spool)
    print(*update.paragraphs, sep="\n")
    if update.details:
        print(update.details)
    print(f"Runs: winnow runs {studies[0]}. Refer to a run as {studies[0]}/ARM/SEED in every command.")
    print(f"Report: {update.report}{'' if update.is_new else ' (nothing changed since it was written)'}")
