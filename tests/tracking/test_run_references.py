"""References to runs: ids, id prefixes, `STUDY/ARM/SEED` and folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.cli import main
from winnow.errors import WinnowError
from winnow.tracking import Store, keys, run_references
from winnow.tracking.run_references import is_run_reference, resolve_run

AddRun = Callable[..., str]


@pytest.fixture
def add_run(store: Store) -> AddRun:
    """Return a function that adds a training run without training and returns its id."""

    def add_run(study: str, arm: str, seed: int, cell: str, status: str = "FINISHED", label: str = "") -> str:
        tags = {
            keys.KIND: "cell",
            keys.STUDY: study,
            keys.ARM: arm,
            keys.ARM_LABEL: label or arm,
            keys.SEED: str(seed),
            keys.CELL_ID: cell,
        }
        run_id = store.client().create_run(store.experiment(study), tags=tags).info.run_id
        if status != "RUNNING":
            store.client().set_terminated(run_id, status)
        return str(run_id)

    return add_run


def resolve(store: Store, reference: str) -> str:
    return str(resolve_run(store.client(), reference).info.run_id)


def read_error(store: Store, reference: str) -> str:
    with pytest.raises(WinnowError) as raised:
        resolve(store, reference)
    return str(raised.value)


def test_a_run_is_found_by_id_prefix_name_and_folder(store: Store, add_run: AddRun, tmp_path: Path) -> None:
    full = add_run("demo", "full", 1, "0" * 16)
    add_run("demo", "full", 1, "0" * 16, status="FAILED")
    swept = add_run("demo", "cheerful-mood.at_least-0.4", 2, "1" * 16, label="cheerful[mood.at_least=0.4]")
    model = tmp_path / "outputs/demo/cells" / ("1" * 16) / "model"
    model.mkdir(parents=True)
    assert resolve(store, full) == resolve(store, full[:20]) == resolve(store, "demo/full/1") == full
    for reference in ("demo/cheerful-mood.at_least-0.4/2", "demo/cheerful[mood.at_least=0.4]/2", str(model)):
        assert resolve(store, reference) == swept
    assert resolve(store, str(model.parent)) == swept


def test_an_ambiguous_reference_lists_the_candidates(store: Store, add_run: AddRun) -> None:
    ids = [add_run("scratchpad", "full", 1, f"{number:016x}") for number in range(17)]
    first = next(run_id[0] for run_id in ids if sum(other[0] == run_id[0] for other in ids) > 1)
    message = read_error(store, first)
    assert f"several run ids start with '{first}'. Add more characters" in message
    assert all((f"\n  {run_id}  scratchpad/full/1, FINISHED" in message) == (run_id[0] == first) for run_id in ids)
    message = read_error(store, "scratchpad/full/1")
    assert "different settings. Use one of these run ids" in message
    assert sum(run_id in message for run_id in ids) == 12
    assert "and 5 more" in message


def test_the_only_finished_run_of_an_arm_and_seed_is_preferred(store: Store, add_run: AddRun) -> None:
    add_run("demo", "full", 1, "0" * 16, status="KILLED")
    finished = add_run("demo", "full", 1, "1" * 16)
    assert resolve(store, "demo/full/1") == finished


def test_an_unknown_reference_names_the_part_that_is_wrong(store: Store, add_run: AddRun, tmp_path: Path) -> None:
    add_run("demo", "full", 3, "0" * 16)
    assert "no study 'demmo' in this store. Did you mean 'demo'?" in read_error(store, "demmo/full/3")
    assert "no arm 'ful'. Did you mean 'full'? Allowed: full." in read_error(store, "demo/ful/3")
    assert "no run with seed 1. Allowed: 3." in read_error(store, "demo/full/1")
    assert "does not belong to a run" in read_error(store, str(tmp_path))
    assert "there is no run 'nothing' among the 1 training runs" in read_error(store, "nothing")


def test_only_references_are_looked_up_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abc").mkdir()
    hub_names = ["distilbert-base-uncased", "org/model", "./model/step/1", "x.ckpt", "abc"]
    assert [name for name in hub_names if is_run_reference(name)] == []
    assert all(map(is_run_reference, ["a", "0a1b", "f" * 32, "demo/full/1"]))


def test_the_runs_of_a_study_are_listed(
    workplace: Path, add_run: AddRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["runs"]) == 0
    assert "There are no training runs" in capsys.readouterr().out
    ids = [add_run("demo", arm, seed, f"{arm}{seed}", status=status) for arm, seed, status in (
        ("full", 2, "FINISHED"), ("full", 10, "FAILED"), ("praise", 1, "FINISHED"))]  # fmt: skip
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["demo", "3", "2"]
    assert main(["runs", "demo"]) == 0
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[:3]]
    names = [["demo/full/2", "finished"], ["demo/full/10", "failed"], ["demo/praise/1", "finished"]]
    assert lines == [[run_id[:8], *name] for run_id, name in zip(ids, names, strict=True)]
    assert main(["runs", "dmo"]) == 1
    assert "Did you mean 'demo'?" in " ".join(capsys.readouterr().err.split())


def test_references_are_found_in_stores_with_more_experiments_and_runs_than_one_page(
    store: Store, add_run: AddRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add_run("oldest", "full", 1, "0" * 16)
    for number in range(3):
        add_run(f"study-{number}", "full", 1, f"{number:016x}")
    client = store.client()
    search_experiments, search_runs = client.search_experiments, client.search_runs
    monkeypatch.setattr(client, "search_experiments", lambda **options: search_experiments(max_results=2, **options))
    monkeypatch.setattr(run_references, "RUNS_PER_PAGE", 2)
    assert resolve_run(client, first[:20]).info.run_id == first
    counts: list[int] = []

    def count_runs(*arguments: Any, **options: Any) -> Any:
        page = search_runs(*arguments, **options)
        counts.append(len(page))
        return page

    monkeypatch.setattr(client, "search_runs", count_runs)
    with pytest.raises(WinnowError, match=r"there is no run 'nothing' in this store\."):
        resolve_run(client, "nothing")
    assert counts == [2]
