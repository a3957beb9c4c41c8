"""`winnow plan`: plans the size of a study from the runs of a pilot."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from winnow.comparison import collect_study
from winnow.comparison.study_size_plan import PlanOptions, plan_study_size
from winnow.config import PlanConfig, construct
from winnow.errors import WinnowError
from winnow.reporting.plan_report import build_plan_tables, describe_plan, write_plan
from winnow.reporting.table_rendering import build_console_table
from winnow.tracking import Store
from winnow.tracking.csv_writer import store_required_error
from winnow.untrusted_text import sanitize_file_name


def run_plan_command(config: PlanConfig, console: Console) -> None:
    """Plan a study from a pilot, print the plan, and write it to the folder of the pilot."""
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    if store.is_csv:
        raise store_required_error().with_prefix("tracking")
    studies = [config.study] if isinstance(config.study, str) else config.study
    options = PlanOptions(config.difference, config.power, config.max_seeds, config.looks, config.parallel_cells)
    try:
        plan = plan_study_size(collect_study(store.tracking_uri, *studies), options)
    except WinnowError as error:
        known_keys = ("study", "difference", "looks", "tracking.uri")
        raise error if error.key in known_keys else WinnowError(error.message, "study") from error
    tables = build_plan_tables(plan)
    figure = write_plan(plan, config.output_dir / sanitize_file_name("+".join(studies)) / "plan", tables)
    first, *sentences = describe_plan(plan)
    console.print(escape(first), soft_wrap=True)
    for table in tables:
        headings = [str(name) for name in table.display]
        console_table = build_console_table(headings[0], *headings[1:])
        for row in table.display.itertuples(index=False, name=None):
            console_table.add_row(*map(escape, row))
        console.print()
        console.print(console_table)
    console.print()
    for sentence in sentences:
        console.print(escape(sentence), soft_wrap=True)
    console.print(f"Figure: {escape(str(figure))}", soft_wrap=True)
