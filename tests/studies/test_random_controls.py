"""Controls that a study adds by itself, and controls that several filters share."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from winnow.config import TrainConfig, compose_cells
from winnow.studies.random_controls import add_controls, share_controls
from winnow.studies.study_cell import StudyCell, build_study_cells
from winnow.studies.study_plan import share_slices

CHEERFUL = """
_target_: winnow.filters.Filter
name: cheerful
signals:
  mood: {_target_: winnow.filters.VaderSentiment}
keep: mood
"""
SWEEP = ["filter=full,cheerful", "filter.signals.mood.at_least=0.2,0.4,0.400001", "seed=1,2"]


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "conf" / "filter"
    folder.mkdir(parents=True)
    (folder / "cheerful.yaml").write_text(CHEERFUL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def build(*overrides: str) -> list[StudyCell]:
    cells, _ = compose_cells("train", TrainConfig, [*SWEEP, "dataset.source.rows=1500", *overrides], multirun=True)
    return build_study_cells(share_slices(add_controls(cells)))


def select_rows(cell: StudyCell) -> pa.Table:
    components = cell.components
    verdicts = components.slices[components.base_filter_name].compute_verdicts(components.corpus, components.cache)
    return components.filter.select(components.corpus.split("train"), verdicts, cell.config.seed)


def test_each_filter_has_a_control_and_equal_samples_are_trained_once() -> None:
    cells, controls = share_controls(build("study.controls=auto"))
    names = [f"cheerful-mood.at_least-{dose}" for dose in ("0.2", "0.4", "0.400001")]
    shared = f"{names[1]}-random"
    assert controls == {names[0]: f"{names[0]}-random", names[1]: shared, names[2]: shared}
    assert list(dict.fromkeys(cell.arm for cell in cells)) == ["full", *names, f"{names[0]}-random", shared]
    assert {cell.label for cell in cells if cell.arm == shared} == {"cheerful[mood.at_least=0.4] random"}
    sizes = {cell.arm: select_rows(cell).num_rows for cell in cells if cell.arm != "full"}
    assert sizes[names[1]] == sizes[names[2]] == sizes[shared] < sizes[names[0]] == sizes[f"{names[0]}-random"]
    samples = [select_rows(cell)["row_id"].to_pylist() for cell in cells if cell.arm == shared]
    assert samples[0] != samples[1]


def test_a_stratified_control_keeps_as_many_rows_of_every_source_and_label() -> None:
    cells = {cell.arm: cell for cell in build("study.controls=stratified") if cell.config.seed == 1}
    name = "cheerful-mood.at_least-0.4"
    kept, control = select_rows(cells[name]), select_rows(cells[f"{name}-stratified"])
    assert kept["row_id"].to_pylist() != control["row_id"].to_pylist()
    for column in ("source", "label"):
        assert Counter(kept[column].to_pylist()) == Counter(control[column].to_pylist())
    lengths = [sum(map(len, rows["text"].to_pylist())) / rows.num_rows for rows in (kept, control)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.05)


def test_studies_have_no_controls_by_default() -> None:
    assert "random" not in "".join(cell.arm for cell in build())
