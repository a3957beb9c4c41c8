"""Display a study's progress as a live table on a terminal, or as one line per cell in other outputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from winnow.metrics.metric_names import stage_metric_name
from winnow.studies.job import Job, JobStatus
from winnow.studies.study_cell import StudyCell
from winnow.studies.study_plan import StudyPlan

REFRESH_PER_SECOND = 2

COUNTED_STATES = ("finished", "running", "waiting", "elsewhere", "failed")
"""The states that the compact table counts, in the order of its columns."""

RESERVED_LINES = 4
"""The number of screen lines not available for table rows: summary, header, count of omitted rows and cursor."""

MAX_WIDTH = 100_000
"""A width in characters that exceeds every grid, used to measure the grid without wrapping."""


class StudyProgress:
    """A grid of all cells of a study, with one row per setting and one column per seed.

    Args:
        cells: The study's cells.
        plan: The study's plan.
        max_parallel_cells: The maximum number of cells that run in parallel.
    """

    def __init__(self, cells: Sequence[StudyCell], plan: StudyPlan, max_parallel_cells: int) -> None:
        config = cells[0].config
        self._metric = cells[0].components.metrics.metric(config.study.primary_metric)
        self._steps = config.training.max_steps
        self._jobs = {job.name: job for job in plan.jobs}
        self._titles = _build_titles(cells)
        self._seeds = {cell.id: cell.config.seed for cell in cells}
        primary = stage_metric_name("final", self._metric.name)
        self._scores = {
            name: attempt.metrics[primary]
            for name, attempt in plan.finished_attempts.items()
            if primary in attempt.metrics
        }
        self._skipped_ids = set(plan.finished_attempts)
        self._final_statuses: dict[str, JobStatus] = {}
        self._max_parallel_cells = max_parallel_cells

    @property
    def failures(self) -> list[str]:
        """One line per failed job, with the job's title, the cause and the path of the log."""
        return [
            f"{self.format_title(self._jobs[name])}: {status.cause} (log: {self._jobs[name].log})"
            for name, status in self._final_statuses.items()
            if status.state == "failed"
        ]

    def format_title(self, job: Job) -> str:
        """Return a job's title: the settings that distinguish the job's cell from other cells, and the seed."""
        return f"{self._titles[job.name]} seed={self._seeds[job.name]}"

    def record_final_status(self, job: Job) -> str:
        """Record a job's final status, and return a line that describes the result."""
        status = self._final_statuses[job.name] = job.status
        if status.state == "failed":
            return f"[red]failed[/red]  {escape(self.failures[-1])}"
        score = status.scores.get(self._metric.name)
        if score is not None:
            self._scores[job.name] = score
        if status.state == "pruned":
            result = f"pruned at step {status.step}"
        else:
            result = "finished" if score is None else f"{escape(self._metric.name)} {score:+.3f}"
        count, title = f"{len(self._final_statuses):>3}/{len(self._jobs)}", escape(self.format_title(job))
        line = f"{count}  {title:<36} {result}   {status.seconds:.0f} s"
        return (
            f"{line}\n        {self._estimate_time_left()}"
            if len(self._final_statuses) == 1 and len(self._jobs) > 1
            else line
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the summary above the grid. A table title is not used for the summary, because it would wrap.

        If the grid does not fit on the screen, a table with the number of cells per setting and state replaces it.
        Settings with failed or running cells come first, and the last line gives the number of omitted settings.
        """
        yield self._format_summary()
        seeds = sorted(set(self._seeds.values()))
        rows: dict[str, dict[int, str]] = {}
        for name, title in self._titles.items():
            rows.setdefault(title, {})[self._seeds[name]] = name
        grid = self._build_grid(rows, seeds)
        row_limit = options.size.height - RESERVED_LINES
        if (
            len(rows) <= row_limit
            and console.measure(grid, options=options.update_width(MAX_WIDTH)).maximum <= options.max_width
        ):
            yield grid
            return
        counts = {title: self._count_states(list(names.values())) for title, names in rows.items()}
        order = sorted(rows, key=lambda title: (not counts[title]["failed"], not counts[title]["running"]))
        listed = order if len(order) <= row_limit else order[: max(1, row_limit - 1)]
        yield _build_count_table({title: counts[title] for title in listed})
        if len(listed) < len(order):
            yield f"[dim]and {len(order) - len(listed)} more[/dim]"

    def _build_grid(self, rows: Mapping[str, Mapping[int, str]], seeds: Sequence[int]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("cell", style="bold", no_wrap=True)
        for seed in seeds:
            table.add_column(f"seed {seed}", justify="right", no_wrap=True)
        for title, names in rows.items():
            cells = (self._format_cell(names[seed]) if seed in names else "" for seed in seeds)
            table.add_row(escape(title), *cells)
        return table

    def _count_states(self, names: Sequence[str]) -> dict[str, int]:
        """Return the number of cells in each state."""
        states = [self._find_state(name) for name in names]
        return {state: states.count(state) for state in COUNTED_STATES}

    def _find_state(self, name: str) -> str:
        if name in self._skipped_ids:
            return "finished"
        return (self._final_statuses.get(name) or self._jobs[name].status).state

    def _format_cell(self, name: str) -> str:
        """Return a cell's status as text. Each state has a different symbol, so the colors are not needed."""
        if name in self._scores or name in self._skipped_ids:
            symbol = "★" if name == self._find_best() else "✓"
            text = f"{symbol} {self._scores[name]:+.3f}" if name in self._scores else "✓"
            return (
                f"[bold]{text}[/bold]" if symbol == "★" else f"[dim]{text}[/dim]" if name in self._skipped_ids else text
            )
        status = self._final_statuses.get(name) or self._jobs[name].status
        match status.state:
            case "failed":
                return "[red]✗ failed[/red]"
            case "finished":
                return "✓"
            case "pruned":
                return f"[dim]✂ {status.step}[/dim]"
            case "elsewhere":
                return "[dim]→ elsewhere[/dim]"
            case "running":
                return f"[cyan]▶ {status.step}/{self._steps}[/cyan]"
        return "[dim]·[/dim]"

    def _format_summary(self) -> str:
        completed_count = sum(status.state == "finished" for status in self._final_statuses.values()) + len(
            self._skipped_ids
        )
        segments = [f"{completed_count} of {len(self._titles)} cells done"]
        if self.failures:
            segments.append(f"[red]{len(self.failures)} failed[/red]")
        if (best := self._find_best()) is not None:
            name = f"{self._titles[best]} seed {self._seeds[best]}"
            segments.append(f"best {escape(self._metric.name)} {self._scores[best]:+.3f} ({escape(name)})")
        return " · ".join([*segments, self._estimate_time_left()])

    def _find_best(self) -> str | None:
        return max(self._scores, key=lambda name: self._metric.sign * self._scores[name], default=None)

    def _estimate_time_left(self) -> str:
        """Estimate the remaining time from the mean duration of past cells and the number of parallel cells."""
        remaining_count = len(self._jobs) - len(self._final_statuses)
        if not self._final_statuses or not remaining_count:
            return "no cells left to run" if not remaining_count else "remaining time unknown until the first cell ends"
        mean = sum(status.seconds for status in self._final_statuses.values()) / len(self._final_statuses)
        minutes = mean * remaining_count / min(self._max_parallel_cells, remaining_count) / 60
        return f"about {max(minutes, 0.1):.1f} minutes remaining"


def _build_count_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Return a table with one row per setting and one column per state; zeros are displayed as empty cells."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cell", style="bold", no_wrap=True, overflow="ellipsis")
    for state in COUNTED_STATES:
        table.add_column(state, justify="right", no_wrap=True)
    for title, numbers in counts.items():
        table.add_row(escape(title), *(str(numbers[state] or "") for state in COUNTED_STATES))
    return table


@contextmanager
def show_progress(progress: StudyProgress, console: Console) -> Iterator[Console]:
    """Show a progress table while the block runs; yield a console that prints a line for each cell that ends.

    On a terminal, the live table replaces these lines, so the yielded console prints nothing. Each cell's own output is
    written to the cell's log.
    """
    terminal = _duplicate_console(console)
    if terminal.is_terminal:
        with Live(
            progress,
            console=terminal,
            refresh_per_second=REFRESH_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield Console(file=None, quiet=True)
    else:
        yield terminal


def _duplicate_console(console: Console) -> Console:
    """Return a console for the same terminal that is not affected when the process's output is redirected later."""
    try:
        descriptor = console.file.fileno()
    except (OSError, AttributeError):  # a notebook, or a test that captures the output
        return console
    if descriptor not in (1, 2):
        return console
    sys.stdout.flush()
    return Console(file=os.fdopen(os.dup(descriptor), "w", encoding="utf-8"), highlight=False)


def _build_titles(cells: Sequence[StudyCell]) -> Mapping[str, str]:
    """Return a title for each cell id: the arm's label, the factor levels, and other overrides that vary, if any."""
    prefixes = ("seed=", "filter=", "filter.", "filter@", *(f"{key}=" for key in cells[0].levels))
    overrides = [[text for text in cell.cell.overrides if not text.startswith(prefixes)] for cell in cells]
    shared_overrides = set.intersection(*map(set, overrides))
    return {
        cell.id: " ".join([cell.title, *(text for text in cell_overrides if text not in shared_overrides)])
        for cell, cell_overrides in zip(cells, overrides, strict=True)
    }
