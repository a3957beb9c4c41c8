"""Data and objects that are loaded, hashed, built and parsed only once for all cells."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.cli import main
from winnow.config import TrainConfig, compose_cells
from winnow.data import Corpus, Dataset
from winnow.filters import expression_parser
from winnow.run.corpus_loader import CorpusLoader
from winnow.run.run_components import build_components
from winnow.studies.job import Job
from winnow.tracking import Store


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often the sources are hashed, the corpus is opened, and each expression is parsed."""
    counts: Counter[str] = Counter()

    def counted(function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            counts[name(*arguments)] += 1
            return function(*arguments, **settings)

        return call

    monkeypatch.setattr(Dataset, "fingerprint", counted(Dataset.fingerprint, lambda _: "hash"))
    monkeypatch.setattr(Corpus, "open", counted(Corpus.open, lambda _: "open"))
    monkeypatch.setattr(
        expression_parser._Parser, "parse", counted(expression_parser._Parser.parse, lambda parser: parser.text)
    )
    expression_parser.parse.cache_clear()
    return counts


@pytest.mark.slow
def test_one_cell_loads_its_corpus_and_parses_its_expression_once(
    workplace: Path, store: Store, small: list[str], calls: Counter[str]
) -> None:
    assert main(["train", "filter=nike_positive", *small]) == 0
    assert calls["hash"] == calls["open"] == 1
    assert len(calls) > 2
    assert set(calls.values()) == {1}


@pytest.mark.slow
def test_a_study_of_four_cells_in_one_process_loads_its_corpus_once(
    workplace: Path, store: Store, small: list[str], calls: Counter[str]
) -> None:
    study = ["filter=full,nike_positive", "seed=1,2", "study.name=mine", "study.compare=false"]
    assert main(["train", "-m", *study, *small]) == 0
    files = sorted((workplace / "outputs/mine/cells").glob("*/job.yaml"))
    assert len(files) == 4
    assert calls["hash"] == calls["open"] == 1

    # A job in another process opens the corpus by the fingerprint in its file.
    corpus = Job.load(files[0]).components.corpus
    assert (calls["hash"], calls["open"]) == (1, 2)
    assert corpus.dataset_fingerprint == Job.load(files[1]).components.dataset.fingerprint()


def test_a_study_over_two_datasets_loads_each_once(workplace: Path, small: list[str], calls: Counter[str]) -> None:
    cells, _ = compose_cells("train", TrainConfig, [*small, "dataset.source.rows=900,1200", "seed=1,2"], multirun=True)
    corpus_loader = CorpusLoader()
    components = [build_components(cell.config, corpus_loader) for cell in cells]
    rows = [cell.corpus.funnel["read"] for cell in components]
    assert sorted(rows) == [900, 900, 1200, 1200]
    assert calls["hash"] == calls["open"] == 2


@pytest.mark.parametrize("arm", ["nike_positive", "random_matched"])
def test_the_filter_that_selects_the_rows_also_defines_its_slice(workplace: Path, small: list[str], arm: str) -> None:
    cells, _ = compose_cells("train", TrainConfig, [f"filter={arm}", *small])
    components = build_components(cells[0].config)
    base_filter: Any = components.filter if arm == "nike_positive" else components.filter.of
    assert components.slices == {"nike_positive": base_filter}
    assert components.slices["nike_positive"] is base_filter
