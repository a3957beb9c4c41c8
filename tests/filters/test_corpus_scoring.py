from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fixtures.small_corpus import CorpusOf
from winnow.errors import WinnowError
from winnow.filters import Column, Duplicate, Filter, Length, Mentions, Signal, VaderSentiment
from winnow.filters.corpus_scoring import score_signals


class CountingSignal(Signal):
    """Scores by length and counts the texts that it scores."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 1.0

    def __init__(self, name: str, missing: int = 0) -> None:
        self.name = name
        self.missing = missing
        self.scored_texts = 0

    def settings(self) -> dict[str, Any]:
        return {"name": self.name}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        self.scored_texts += len(texts)
        return pa.array([float(len(text or "")) for text in texts][self.missing :], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        return pc.greater(scores, 3.0)


def test_a_second_filter_scores_only_new_signals(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of([f"text {i}" for i in range(5_000)])
    first, second = CountingSignal("first"), CountingSignal("second")
    first_scores = score_signals({"a": first}, corpus, tmp_path, progress=False)
    both = score_signals({"b": second, "cached": first}, corpus, tmp_path, progress=False)
    assert (first.scored_texts, second.scored_texts) == (5_000, 5_000)
    assert both["cached"].scores.equals(first_scores["a"].scores)
    assert both["b"].scores.to_pylist() == [float(len(text)) for text in corpus.table["text"].to_pylist()]


def test_another_corpus_is_scored_again(corpus_of: CorpusOf, tmp_path: Path) -> None:
    signal = CountingSignal("first")
    for texts in (["a", "b", "c"], ["a", "b", "d"], ["b", "a", "c"]):
        score_signals({"a": signal}, corpus_of(texts), tmp_path, progress=False)
    assert signal.scored_texts == 9


def test_another_threshold_needs_no_second_scoring(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(["a", "bb", "ccc", "dddd", "e", "f"])
    score_signals({"length": Length(at_most=2)}, corpus, tmp_path, progress=False)
    [cached] = (tmp_path / "scores" / corpus.fingerprint).iterdir()
    written = cached.stat().st_mtime_ns
    verdicts = Filter(name="x", signals={"length": Length(at_least=3)}, keep="length").compute_verdicts(
        corpus, tmp_path, progress=False
    )
    assert verdicts.keep_mask("train").tolist() == [False, False, True, True]
    assert [path.stat().st_mtime_ns for path in cached.parent.iterdir()] == [written]


def test_too_few_scores_are_an_error_and_nothing_is_cached(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(["a", "b", "c"])
    with pytest.raises(WinnowError, match="got 2 scores of type double for 3 texts") as caught:
        score_signals({"bad": CountingSignal("bad", missing=1)}, corpus, tmp_path, progress=False)
    assert caught.value.key == "signals.bad"
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_damaged_score_file_is_computed_again(
    corpus_of: CorpusOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, signals = corpus_of(["a", "b", "c"]), {"n": Mentions(words=["a"])}
    before = score_signals(signals, corpus, tmp_path, progress=False)
    [cached] = tmp_path.rglob("*.parquet")
    cached.write_bytes(cached.read_bytes()[:40])
    after = score_signals(signals, corpus, tmp_path, progress=False)
    assert after["n"].scores.equals(before["n"].scores)
    assert "does not match its digest" in capsys.readouterr().err


def test_the_progress_bar_draws_on_stderr_and_can_be_off(
    corpus_of: CorpusOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, signals = corpus_of(["a", "b", "c"]), {"n": Mentions(words=["a"])}
    score_signals(signals, corpus, tmp_path / "off", progress=False)
    assert capsys.readouterr() == ("", "")
    score_signals(signals, corpus, tmp_path / "on", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err
    score_signals(signals, corpus, tmp_path / "on", progress=True)
    assert capsys.readouterr() == ("", "")  # all scores are cached


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "short_circuit"])
def test_verdicts_do_not_depend_on_the_number_of_processes(corpus_of: CorpusOf, tmp_path: Path, mode: Any) -> None:
    corpus = corpus_of([f"a {word} shoe {i}" for i in range(2_500) for word in ("good", "bad")])
    signals = {"a": Mentions(words=["good"]), "b": VaderSentiment(), "c": Duplicate(words=4)}
    one = Filter(name="x", signals=signals, keep="a & b & c", mode=mode)
    two = replace(one, processes=2)
    assert one.fingerprint() == two.fingerprint()
    progress: list[int] = []
    verdicts = [one.compute_verdicts(corpus, tmp_path / "one", progress=False)]
    verdicts.append(
        two.compute_verdicts(
            corpus, tmp_path / "two", progress=False, on_batch=lambda rows, kept, signals: progress.append(rows)
        )
    )
    assert verdicts[0].fingerprint == verdicts[1].fingerprint
    # With short-circuit evaluation, measured costs decide which signals score a row, so only the verdicts are equal.
    columns = verdicts[0].table.column_names if mode == "full" else ["row_id", "split", "keep"]
    assert verdicts[0].table.select(columns).equals(verdicts[1].table.select(columns))
    assert progress == [2_000, 4_000, 5_000]


@pytest.mark.slow
def test_an_error_in_another_process_is_the_same_as_in_this_one(corpus_of: CorpusOf, tmp_path: Path) -> None:
    filter_ = Filter(name="x", signals={"a": Column(column="stars", at_least=1)}, keep="a", processes=2)
    with pytest.raises(WinnowError, match="no column 'stars'"):
        filter_.compute_verdicts(corpus_of(["a", "b", "c"]), tmp_path, progress=False)
    failing = Filter(name="x", signals={"a": CountingSignal("bad", missing=1)}, keep="a", processes=2)
    with pytest.raises(WinnowError, match="got 2 scores") as caught:
        failing.compute_verdicts(corpus_of(["a", "b", "c"]), tmp_path, progress=False)
    assert caught.value.key == "signals.a"


SCRIPT = """
import sys
from pathlib import Path
from winnow.data import Files, Dataset
from winnow.filters import Filter, Mentions, VaderSentiment
folder = Path(sys.argv[1])
dataset = Dataset(name="x", source=Files(path=folder / "texts.csv", text=["text"]))
corpus = dataset.load(folder / sys.argv[2])
signals = {"a": Mentions(words=["good", "bad", "shoe"]), "b": VaderSentiment()}
filter_ = Filter(name="x", signals=signals, keep="a & b", parts={"c": "a | b"})
verdicts = filter_.compute_verdicts(corpus, folder / sys.argv[2], progress=False)
print(dataset.fingerprint(), corpus.fingerprint, filter_.fingerprint(), verdicts.fingerprint)
"""


@pytest.mark.slow
def test_fingerprints_are_the_same_in_every_process(tmp_path: Path) -> None:
    rows = "".join(f"a {word} shoe {i}\n" for i in range(60) for word in ("good", "bad", "plain"))
    (tmp_path / "texts.csv").write_text("text\n" + rows)
    printed = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), f"cache{seed}"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert len(printed[0].split()) == 4
