"""The default launcher uses all cores and the free memory, and the results do not depend on it."""

from pathlib import Path

import pytest

from winnow.config import TrainConfig, compose_cells
from winnow.run.cell_cost import PROCESS_BYTES, CellCost, estimate_cost
from winnow.studies import InProcess, Joblib, Submitit
from winnow.studies.job import Job
from winnow.studies.parallelism import Machine, choose_threads, choose_workers, share_machine
from winnow.studies.study_cell import build_study_cells

GB = 10**9
SMALL, LARGE = CellCost(10, GB, True), CellCost(600, 4 * GB, False)


@pytest.mark.parametrize(
    ("cost", "jobs", "cores", "gigabytes", "expected"),
    [
        (SMALL, 15, 2, 16, (1, 2)),
        (SMALL, 15, 1, 16, (1, 1)),  # one core: no additional process
        (SMALL, 3, 16, 16, (1, 3)),  # no more workers than cells
        (SMALL, 15, 16, 5, (1, 4)),  # the memory is enough for four cells
        (SMALL, 1, 16, 16, (1, 1)),
        (CellCost(0.5, GB, True), 10, 2, 16, (1, 1)),  # too short for the start of new processes
        (LARGE, 15, 2, 16, (1, 2)),
        (LARGE, 15, 2, 6, (2, 1)),  # the memory is enough for one cell, which uses both cores
        (LARGE, 4, 16, 64, (4, 4)),
        (LARGE, 1, 16, 64, (16, 1)),
    ],
)
def test_workers_and_threads_use_the_cores_and_the_memory(
    cost: CellCost, jobs: int, cores: int, gigabytes: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    machine = Machine(cores, gigabytes * GB, gigabytes * GB)
    threads = choose_threads(cost, jobs, machine)
    assert (threads, choose_workers([cost] * jobs, threads, machine)) == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert choose_threads(cost, jobs, machine) == 1


def plan(workplace: Path, *overrides: str) -> list[Job]:
    arguments = ["filter=full,nike_positive", "seed=1,2,3,4", "dataset.source.rows=300", *overrides]
    cells, _ = compose_cells("train", TrainConfig, arguments, multirun=True)
    return [Job(cell.cell, cell.components, cell.id, "parent") for cell in build_study_cells(cells)]


def test_cells_have_the_same_threads_with_every_launcher(
    workplace: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(4, 16 * GB, 16 * GB)
    monkeypatch.setattr(Machine, "read", lambda: machine)
    short, long = plan(workplace, *small), plan(workplace, *small, "training.max_steps=50000")
    for jobs, workers in ((short, 1), (long, 4)):
        chosen = share_machine(jobs, Joblib(), 8, lambda: 7)
        assert (chosen.launcher, {job.cell.config.numerics.threads for job in chosen.jobs}) == (Joblib(workers), {1})
        assert chosen.description.startswith("1 thread per cell (4 cores, 16 GB free, about 0.8 GB per cell)")
        for launcher in (InProcess(), Joblib(3), Submitit("local")):
            other = share_machine(jobs, launcher, 8, lambda: 7)
            assert [job.cell for job in other.jobs] == [job.cell for job in chosen.jobs]
            assert other.launcher == launcher
    cluster = share_machine(short, Submitit("slurm"), 8, lambda: 7)
    assert (cluster.jobs, cluster.description) == (short, "")
    explicit = share_machine(plan(workplace, *small, "numerics.threads=3"), Joblib(), 8, lambda: 7)
    assert {job.cell.config.numerics.threads for job in explicit.jobs} == {3}


def test_the_recorded_threads_of_a_study_are_reused(
    workplace: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.training.forward.numerics.MIN_THREADED_PARAMETERS", 0)
    chosen = share_machine(plan(workplace, *small), InProcess(), 8, lambda: 7)
    assert {job.cell.config.numerics.threads for job in chosen.jobs} == {7}


def test_the_cost_grows_with_the_model_and_the_steps(workplace: Path, small: list[str]) -> None:
    costs = [
        estimate_cost(job.cell.config, job.components)
        for job in (
            plan(workplace, *small)[0],
            plan(workplace, *small, "training.max_steps=4000")[0],
            plan(workplace, *small, "model.hidden_size=256")[0],
        )
    ]
    assert costs[0].seconds < costs[1].seconds
    assert costs[0].seconds < costs[2].seconds
    assert PROCESS_BYTES < costs[0].memory == costs[1].memory < costs[2].memory
    assert all(cost.is_small for cost in costs)
