"""Whoever scores, the verdicts are the same."""

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
from winnow.filters import Duplicate, Filter, Length, Mentions, Python, Regex, VaderSentiment, engines
from winnow.filters.batch_scoring import Questions, Turn
from winnow.filters.engines import ask_rows

CHOSEN = Filter(
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
    # The module's own, so that it is started and stopped but once.
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture
def corpus(corpus_of: CorpusOf) -> Corpus:
    return corpus_of([f"a {word} shoe {i}" for i in range(1_500) for word in ("good", "bad", "lovely")])


@pytest.mark.parametrize("mode", ["full", "short_circuit"])
def test_ray_gives_the_verdicts_of_this_process(cluster: None, corpus: Corpus, tmp_path: Path, mode: Any) -> None:
    local = replace(CHOSEN, mode=mode)
    ray = replace(local, engine="ray")
    assert ray.fingerprint() == local.fingerprint()
    told: list[int] = []
    here = local.judge(corpus, tmp_path / "local", progress=False)
    there = ray.judge(corpus, tmp_path / "ray", progress=False, watch=lambda rows, kept: told.append(rows))
    assert there.table.equals(here.table)
    assert there.table.schema.equals(here.table.schema)
    assert there.fingerprint == here.fingerprint
    assert told[-1] == corpus.table.num_rows
    names = [{path.name for path in (tmp_path / engine).rglob("*.parquet")} for engine in ("local", "ray")]
    assert names[0] == names[1]
    assert not list((tmp_path / "ray").rglob("ray-*"))


def test_ray_tells_a_fault_as_this_process_does(cluster: None, corpus: Corpus, tmp_path: Path) -> None:
    def loud(texts: list[str]) -> list[float]:
        if "a lovely shoe 1000" in texts:
            raise ValueError("too loud")
        return [0.0] * len(texts)

    signal = Python(function=loud, at_least=1)
    for engine in ("local", "ray"):
        with pytest.raises(WinnowError, match=r"ValueError on row 3,003 .*too loud") as caught:
            Filter(name="x", signals={"a": signal}, keep="a", engine=engine).judge(corpus, tmp_path, progress=False)
        assert caught.value.key == "signals.a"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_batches_of_any_size_give_the_same(
    corpus_of: CorpusOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    corpus = corpus_of([f"a {word} shoe {i}" for i in range(40) for word in ("good", "bad")])
    for mode in ("full", "short_circuit"):
        expected = replace(CHOSEN, mode=mode).judge(corpus, tmp_path / mode, progress=False)
        with monkeypatch.context() as patch:
            patch.setattr(engines, "BATCH_ROWS", size)
            judged = replace(CHOSEN, mode=mode).judge(corpus, tmp_path / f"{mode}{size}", progress=False)
        assert judged.fingerprint == expected.fingerprint


def test_an_engine_that_is_not_installed_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.filters.signals.signal.find_spec", lambda name: None)
    [fault, *_] = replace(CHOSEN, engine="ray").check()
    assert (fault.key, "winnow[ray]" in fault.message) == ("engine", True)


def test_rows_that_do_not_follow_one_another_are_told_apart() -> None:
    questions = Questions({"long": Length(at_least=1)}, [Turn(["long"])])
    batch = pa.table({"text": ["a", "bb", "ccc", "dddd"]})
    import numpy as np

    table = engines._packed(questions, batch, np.array([4, 5, 9, 0]))
    answers = {one.first: one.scores["long"].to_pylist() for one in engines._unpacked(questions, table)}
    assert answers == {4: [1, 2], 9: [3], 0: [4]}
    assert [one.first for one in ask_rows(questions, batch, Path())] == [0]
