"""What a person sees of a study while it runs: a table that keeps itself up to date, or a line for each cell."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from winnow.metrics.metric_names import stage_metric_name
from winnow.studies.job import Job, Status
from winnow.studies.plan import Plan
from winnow.studies.study_cell import StudyCell

LOOKS_A_SECOND = 2


class Board:
    """All cells of a study in a grid: one row for each setting, one column for each seed.

    Args:
        cells: The grid.
        plan: What is done with each of them.
        at_once: How many run at a time.
    """

    def __init__(self, cells: Sequence[StudyCell], plan: Plan, at_once: int) -> None:
        config = cells[0].config
        self._metric = cells[0].components.metrics.metric(config.study.primary_metric)
        self._steps = config.training.max_steps
        self._jobs = {job.name: job for job in plan.jobs}
        self._titles = _titles(cells)
        self._seeds = {cell.id: cell.config.seed for cell in cells}
        primary = stage_metric_name("final", self._metric.name)
        self._scores = {
            name: attempt.metrics[primary] for name, attempt in plan.finished.items() if primary in attempt.metrics
        }
        self._skipped = set(plan.finished)
        self._ended: dict[str, Status] = {}
        self._at_once = at_once
        self._begun = time.monotonic()

    @property
    def failures(self) -> list[str]:
        """A line for each job that failed: which, why, and where its log lies."""
        return [
            f"{self.title(self._jobs[name])}: {status.cause} (whole story in {self._jobs[name].log})"
            for name, status in self._ended.items()
            if status.state == "failed"
        ]

    def title(self, job: Job) -> str:
        """Return how a cell is called: what sets it apart from the others."""
        return f"{self._titles[job.name]} seed={self._seeds[job.name]}"

    def ended(self, job: Job) -> str:
        """Take note of a job's end, and return a line that tells of it."""
        status = self._ended[job.name] = job.status
        if status.state == "failed":
            return f"[red]failed[/red]  {escape(self.failures[-1])}"
        score = status.scores.get(self._metric.name)
        if score is not None:
            self._scores[job.name] = score
        told = "finished" if score is None else f"{self._metric.name} {score:+.3f}"
        line = f"{len(self._ended):>3}/{len(self._jobs)}  {escape(self.title(job)):<36} {told}   {status.seconds:.0f} s"
        return f"{line}\n        {self._time_left()}" if len(self._ended) == 1 and len(self._jobs) > 1 else line

    def __rich__(self) -> Group:
        """Draw the grid as it stands now, below the line that sums it up; as its title it would wrap at its width."""
        seeds = sorted(set(self._seeds.values()))
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("cell", style="bold", no_wrap=True)
        for seed in seeds:
            table.add_column(f"seed {seed}", justify="right", no_wrap=True)
        places = {(title, self._seeds[name]): name for name, title in self._titles.items()}
        for title in dict.fromkeys(self._titles.values()):
            names = [places.get((title, seed)) for seed in seeds]
            table.add_row(escape(title), *("" if name is None else self._mark(name) for name in names))
        return Group(self._summary(), table)

    def _mark(self, name: str) -> str:
        """Return what is known of one cell; signs and not colours alone tell the states apart."""
        if name in self._scores or name in self._skipped:
            sign = "★" if name == self._best() else "✓"
            told = f"{sign} {self._scores[name]:+.3f}" if name in self._scores else "✓"
            return f"[bold]{told}[/bold]" if sign == "★" else f"[dim]{told}[/dim]" if name in self._skipped else told
        status = self._ended.get(name) or self._jobs[name].status
        match status.state:
            case "failed":
                return "[red]✗ failed[/red]"
            case "finished":
                return "✓"
            case "elsewhere":
                return "[dim]→ elsewhere[/dim]"
            case "running":
                return f"[cyan]▶ {status.step}/{self._steps}[/cyan]"
        return "[dim]·[/dim]"

    def _summary(self) -> str:
        done = sum(status.state == "finished" for status in self._ended.values()) + len(self._skipped)
        told = [f"{done} of {len(self._titles)} cells done"]
        if self.failures:
            told.append(f"[red]{len(self.failures)} failed[/red]")
        if (best := self._best()) is not None:
            name = f"{self._titles[best]} seed {self._seeds[best]}"
            told.append(f"best {self._metric.name} {self._scores[best]:+.3f} ({escape(name)})")
        return " · ".join([*told, self._time_left()])

    def _best(self) -> str | None:
        return max(self._scores, key=lambda name: self._metric.sign * self._scores[name], default=None)

    def _time_left(self) -> str:
        """Return a guess from the cells that have ended, and from how many run at a time."""
        left = len(self._jobs) - len(self._ended)
        if not self._ended or not left:
            return "nothing left to run" if not left else "time left is known once a cell has ended"
        mean = sum(status.seconds for status in self._ended.values()) / len(self._ended)
        minutes = mean * left / min(self._at_once, left) / 60
        return f"about {max(minutes, 0.1):.1f} minutes left"


@contextmanager
def shown(board: Board, console: Console) -> Iterator[Console]:
    """Show the board on a terminal until the block ends; return the console on which lines may be printed meanwhile.

    The cells' own output goes to their logs, so the console is given the terminal for itself.
    """
    own = _terminal_of(console)
    if own.is_terminal:
        with Live(board, console=own, refresh_per_second=LOOKS_A_SECOND, redirect_stdout=False, redirect_stderr=False):
            yield Console(file=None, quiet=True)
    else:
        yield own


def _terminal_of(console: Console) -> Console:
    """Return a console that writes where this one does, also while the process's output goes to a log."""
    try:
        number = console.file.fileno()
    except (OSError, AttributeError):  # a notebook, or a test that captures what is printed
        return console
    if number not in (1, 2):
        return console
    sys.stdout.flush()
    return Console(file=os.fdopen(os.dup(number), "w", encoding="utf-8"), highlight=False)


def _titles(cells: Sequence[StudyCell]) -> Mapping[str, str]:
    """Return by cell id what the sweep varies except the seed; if that is the filter alone, its name."""
    own = [[text for text in one.cell.overrides if not text.startswith("seed=")] for one in cells]
    shared = set.intersection(*map(set, own))
    varied = [[text for text in texts if text not in shared] for texts in own]
    by_filter = all(text.startswith("filter=") for texts in varied for text in texts)
    return {one.id: one.arm if by_filter else " ".join(texts) for one, texts in zip(cells, varied, strict=True)}
