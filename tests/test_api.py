"""The public Python API."""

import pytest

import winnow
from fixtures.planted_study import PlantedStore
from winnow.comparison import analyze, collect_study
from winnow.errors import WinnowError


def test_a_study_is_compared_and_converted_to_a_table(planted_store: PlantedStore, planted: str) -> None:
    study = winnow.study(planted, store=planted_store.uri)
    assert study.compare().paragraphs == analyze(collect_study(planted_store.uri, planted)).paragraphs
    table = study.to_pandas()
    assert list(table.columns[:4]) == ["study", "arm", "seed", "run_id"]
    assert sorted(table["run_id"]) == sorted(cell.run_id for cell in study.results.runs)
    assert table[table["arm"] == "full"]["final/test/all/loss"].notna().all()
    fills = study.fills("nike", top_k=2)
    assert list(fills.columns) == ["base", "full", "nike_positive", "random_matched"]
    assert fills.loc[("Nike shoes are very [MASK]", 1), "full"].endswith("%")
    with pytest.raises(WinnowError, match="no probe 'nkie'"):
        study.fills("nkie")
    with pytest.raises(WinnowError, match=r"no finished run of ful with seed 1\. Available: full 1, "):
        study.model("ful", 1)


def test_the_default_store_is_the_embedded_one_and_a_name_is_required() -> None:
    assert winnow.study("a", "b", output_dir="x/y").store_uri == "sqlite:///x/y/mlflow.db"
    with pytest.raises(TypeError, match="at least one name"):
        winnow.study()
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = winnow.no_such_name
