"""Real loading by `datasets`, of a folder in the Hub's layout; the Hub itself only where there is a network."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.data import Dataset, HubDataset, Split


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"answers": {"text": [f"first {i}", f"second {i}"]}, "stars": i % 5} for i in range(80)]
    (tmp_path / "eli5" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "eli5" / "data" / "train-00000-of-00001.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "eli5"


@pytest.mark.parametrize("first_rows", [None, 60])
def test_nested_texts_and_columns(folder: Path, tmp_path: Path, first_rows: int | None) -> None:
    source = HubDataset(name=str(folder), text=["answers.text"], columns={"stars": "number"}, first_rows=first_rows)
    assert source.check() == []
    corpus = Dataset(name="x", source=source, split=Split(0.2, 0.2)).load(tmp_path)
    assert corpus.funnel["read"] == (first_rows or 80)
    assert corpus.table["text"][0].as_py() == "first 0 second 0"
    assert corpus.table["stars"].to_pylist()[:6] == [0, 1, 2, 3, 4, 0]


def test_what_cannot_be_loaded_is_told(folder: Path, tmp_path: Path) -> None:
    for source in (
        HubDataset(name=str(tmp_path / "none"), text=["text"]),
        HubDataset(name=str(folder), text=["text"], split="validation"),
    ):
        [fault] = source.check()
        assert fault.key == "name"
        assert "cannot load the dataset" in fault.message
    [fault] = HubDataset(name=str(folder), text=["answer.text"]).check()
    assert "no column 'answer.text'" in fault.message


@pytest.mark.network
def test_the_first_rows_of_a_data_set_on_the_hub() -> None:
    source = HubDataset(name="dany0407/eli5_category", text=["answers.text"], first_rows=20)
    assert source.read().num_rows == 20
