"""Choose the number of cells that run in parallel, and the number of threads per cell.

The number of threads changes the order of sums, and thus the last digits of a result. It therefore does not depend on
the launcher, and is stored in the configuration of each cell.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from winnow.errors import WinnowError
from winnow.run.cell_cost import CellCost, estimate_cost
from winnow.run.run_components import select_device
from winnow.studies.job import Job
from winnow.studies.launchers import Launcher

WORKER_START_SECONDS: Final = 8.0
"""The time until a new worker process has imported the libraries."""

USED_MEMORY_FRACTION: Final = 0.8
"""The fraction of the free memory that the cells may use together."""


@dataclass(frozen=True)
class Machine:
    """The cores and the memory that this process may use.

    Attributes:
        cores: The number of cores.
        memory: The total memory in bytes.
        free_memory: The memory in bytes that is not in use.
    """

    cores: int
    memory: int
    free_memory: int

    @classmethod
    def read(cls) -> Machine:
        """Return the resources of this machine, within the limits of CPU affinity and Linux control groups."""
        import joblib
        import psutil

        memory = psutil.virtual_memory()
        return cls(joblib.cpu_count(), memory.total, memory.available)


@dataclass(frozen=True)
class ParallelPlan:
    """How the cells of a study share the machine.

    Attributes:
        jobs: The jobs, with the number of threads in their configuration.
        launcher: The launcher, with the number of parallel cells.
        description: The numbers that the choice is based on; empty if nothing was chosen.
    """

    jobs: list[Job]
    launcher: Launcher
    description: str = ""


def share_machine(
    jobs: Sequence[Job], launcher: Launcher, cells: int, read_recorded_threads: Callable[[], int | None]
) -> ParallelPlan:
    """Choose the threads of each cell and the number of parallel cells, unless the user has set them.

    Nothing is chosen if the cells run on a cluster or a GPU, or if several processes train one cell.

    Args:
        jobs: The jobs to run.
        launcher: The launcher.
        cells: The number of cells in the study, including finished ones.
        read_recorded_threads: Returns the threads of earlier runs of the study, or `None` if there are none.
    """
    plan = ParallelPlan(list(jobs), launcher)
    if not jobs or not launcher.uses_this_machine or launcher.processes_per_cell > 1:
        return plan
    if any(select_device(job.components).type != "cpu" for job in jobs):
        return plan
    machine, recorded_threads = Machine.read(), functools.cache(read_recorded_threads)
    try:
        costs = _estimate_costs(jobs)
    except WinnowError:  # each cell reports the error
        return plan
    threads = [
        job.cell.config.numerics.threads
        or (None if cost.is_small else recorded_threads())
        or choose_threads(cost, cells, machine)
        for job, cost in zip(jobs, costs, strict=True)
    ]
    launcher = launcher.with_workers(choose_workers(costs, max(threads), machine))
    plan = ParallelPlan([_set_threads(*pair) for pair in zip(jobs, threads, strict=True)], launcher)
    return dataclasses.replace(plan, description=_describe(costs, max(threads), machine))


def _estimate_costs(jobs: Sequence[Job]) -> list[CellCost]:
    """Return the cost of each job. Jobs with the same dataset, model and training settings have the same cost."""
    costs: dict[str, CellCost] = {}
    keys = []
    for job in jobs:
        config = job.cell.config
        keys.append(repr((config.dataset, config.model, config.training)))
        if keys[-1] not in costs:
            costs[keys[-1]] = estimate_cost(config, job.components)
    return [costs[key] for key in keys]


def _set_threads(job: Job, threads: int) -> Job:
    """Return a job with a number of threads in its configuration."""
    config = job.cell.config
    config = dataclasses.replace(config, numerics=dataclasses.replace(config.numerics, threads=threads))
    return dataclasses.replace(job, cell=dataclasses.replace(job.cell, config=config))


def _describe(costs: Sequence[CellCost], threads: int, machine: Machine) -> str:
    gigabytes = max(cost.memory for cost in costs) / 1e9
    return (
        f"{threads} {'thread' if threads == 1 else 'threads'} per cell "
        f"({machine.cores} {'core' if machine.cores == 1 else 'cores'}, {machine.free_memory / 1e9:.0f} GB free, "
        f"about {gigabytes:.1f} GB per cell)"
    )


def choose_threads(cost: CellCost, cells: int, machine: Machine) -> int:
    """Return the number of threads per cell: 1 for small models; otherwise, the cores are divided among the cells.

    The result depends on the study and the machine only, so that every launcher trains with the same number.

    Args:
        cost: The estimated cost of a cell.
        cells: The number of cells in the study, including finished ones.
        machine: The machine.
    """
    if cost.is_small:
        return 1
    threads = machine.cores // _count_cells_in_memory(cost, cells, machine.cores, machine.memory)
    return max(1, min(threads, int(os.environ.get("OMP_NUM_THREADS") or threads)))


def choose_workers(costs: Sequence[CellCost], threads: int, machine: Machine) -> int:
    """Return the number of cells to run in parallel.

    The result is 1 if a single process is about as fast, since new processes first have to import the libraries.

    Args:
        costs: The estimated cost of each cell to run.
        threads: The number of threads per cell.
        machine: The machine.
    """
    largest, slots = max(costs, key=lambda cost: cost.memory), max(1, machine.cores // threads)
    workers = _count_cells_in_memory(largest, len(costs), slots, machine.free_memory)
    rounds = -(-len(costs) // workers)
    saved_seconds = sum(cost.seconds for cost in costs) * (1 - rounds / len(costs))
    return workers if saved_seconds > WORKER_START_SECONDS else 1


def _count_cells_in_memory(cost: CellCost, cells: int, slots: int, memory: int) -> int:
    """Return the number of cells that fit into the memory, at most `cells` and `slots`, and at least 1."""
    return max(1, min(cells, slots, int(USED_MEMORY_FRACTION * memory / cost.memory)))
