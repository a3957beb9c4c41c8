"""All engines return the same verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fixtures.small_corpus import CorpusOf
from winnow.data import Corpus
from winnow.errors import WinnowError
from winnow.filters import Duplicate, Filter, Length, Mentions, PythonFunction, Regex, VaderSentiment, scoring_engines
from winnow.filters.batch_scoring import BatchScorer, ScoringStage
from winnow.filters.scoring_engines import score_rows

FILTER = Filter(
    name="x",
    signals={
        "shoe": Mentions(words=["shoe"]),
        "mood": VaderSentiment(),
        "near": Duplicate(words=4),
        "long": Length(at_most=24),
        "odd": Regex(pattern="[13579]$"),
    },
    keep="shoe & (mood > 0.1 | odd) & near & long",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    # One cluster for the module, because starting it is slow.
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture
def corpus(corpus_of: CorpusOf) -> Corpus:
    return corpus_of([f"a {word} shoe {i}" for i in range(1_500) for word in ("good", "bad", "lovely")])


@pytest.mark.parametrize("mode", ["full", "short_circuit"])
def test_ray_returns_the_same_verdicts_as_this_process(
    cluster: None, corpus: Corpus, tmp_path: Path, mode: Any
) -> None:
    local = replace(FILTER, mode=mode)
    ray = replace(local, engine="ray")
    assert ray.fingerprint() == local.fingerprint()
    progress: list[int] = []
    local_verdicts = local.compute_verdicts(corpus, tmp_path / "local", progress=False)
    ray_verdicts = ray.compute_verdicts(
        corpus, tmp_path / "ray", progress=False, on_batch=lambda rows, kept, signals: progress.append(rows)
    )
    assert ray_verdicts.table.equals(local_verdicts.table)
    assert ray_verdicts.table.schema.equals(local_verdicts.table.schema)
    assert ray_verdicts.fingerprint == local_verdicts.fingerprint
    assert progress[-1] == corpus.table.num_rows
    names = [{path.name for path in (tmp_path / engine).rglob("*.parquet")} for engine in ("local", "ray")]
    assert names[0] == names[1]
    assert not list((tmp_path / "ray").rglob("ray-*"))


def test_ray_raises_the_same_error_as_this_process(cluster: None, corpus: Corpus, tmp_path: Path) -> None:
    def loud(texts: list[str]) -> list[float]:
        if "a lovely shoe 1000" in texts:
            raise ValueError("too loud")
        return [0.0] * len(texts)

    signal = PythonFunction(function=loud, at_least=1)
    for engine in ("local", "ray"):
        with pytest.raises(WinnowError, match=r"ValueError on row 3,003 .*too loud") as caught:
            Filter(name="x", signals={"a": signal}, keep="a", engine=engine).compute_verdicts(
                corpus, tmp_path, progress=False
            )
        assert caught.value.key == "signals.a"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_verdicts_do_not_depend_on_the_batch_size(
    corpus_of: CorpusOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    corpus = corpus_of([f"a {word} shoe {i}" for i in range(40) for word in ("good", "bad")])
    for mode in ("full", "short_circuit"):
        expected = replace(FILTER, mode=mode).compute_verdicts(corpus, tmp_path / mode, progress=False)
        with monkeypatch.context() as patch:
            patch.setattr(scoring_engines, "BATCH_ROWS", size)
            verdicts = replace(FILTER, mode=mode).compute_verdicts(corpus, tmp_path / f"{mode}{size}", progress=False)
        assert verdicts.fingerprint == expected.fingerprint


def test_an_engine_that_is_not_installed_is_an_error_of_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.filters.signals.signal.find_spec", lambda name: None)
    [error, *_] = replace(FILTER, engine="ray").check()
    assert (error.key, "winnow-mlm[ray]" in error.message) == ("engine", True)


def test_batch_scores_are_packed_and_unpacked() -> None:
    scorer = BatchScorer({"long": Length(at_least=1)}, [ScoringStage(["long"])])
    batch = pa.table({"text": ["a", None, "ccc"]})
    [scores] = scoring_engines._unpack_scores(scorer, scoring_engines._pack_scores(scorer, batch, 4))
    assert (scores.offset, scores.scores["long"].to_pylist()) == (4, [1, None, 3])
    assert [result.offset for result in score_rows(scorer, batch, Path())] == [0]
