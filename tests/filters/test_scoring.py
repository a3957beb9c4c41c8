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
from winnow.filters import Duplicate, Field, Filter, Length, Mentions, Signal, VaderSentiment
from winnow.filters.scoring import score_signals


class Counting(Signal):
    """Scores by length and counts the texts that it was asked about."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 1.0

    def __init__(self, name: str, wrong: int = 0) -> None:
        self.name = name
        self.wrong = wrong
        self.asked = 0

    def settings(self) -> dict[str, Any]:
        return {"name": self.name}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        self.asked += len(texts)
        return pa.array([float(len(text or "")) for text in texts][self.wrong :], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        return pc.greater(scores, 3.0)


def test_a_second_filter_scores_only_what_is_new(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of([f"text {i}" for i in range(5_000)])
    first, second = Counting("first"), Counting("second")
    once = score_signals({"a": first}, corpus, tmp_path, progress=False)
    both = score_signals({"b": second, "again": first}, corpus, tmp_path, progress=False)
    assert (first.asked, second.asked) == (5_000, 5_000)
    assert both["again"].scores.equals(once["a"].scores)
    assert both["b"].scores.to_pylist() == [float(len(text)) for text in corpus.table["text"].to_pylist()]


def test_another_corpus_is_scored_anew(corpus_of: CorpusOf, tmp_path: Path) -> None:
    signal = Counting("first")
    for texts in (["a", "b", "c"], ["a", "b", "d"], ["b", "a", "c"]):
        score_signals({"a": signal}, corpus_of(texts), tmp_path, progress=False)
    assert signal.asked == 9


def test_another_threshold_needs_no_second_scoring(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(["a", "bb", "ccc", "dddd", "e", "f"])
    score_signals({"length": Length(at_most=2)}, corpus, tmp_path, progress=False)
    [cached] = (tmp_path / "scores" / corpus.fingerprint).iterdir()
    written = cached.stat().st_mtime_ns
    judged = Filter(name="x", signals={"length": Length(at_least=3)}, keep="length").judge(
        corpus, tmp_path, progress=False
    )
    assert judged.kept("train").tolist() == [False, False, True, True]
    assert [path.stat().st_mtime_ns for path in cached.parent.iterdir()] == [written]


def test_a_signal_that_gives_too_few_scores_is_an_error_and_leaves_nothing(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(["a", "b", "c"])
    with pytest.raises(WinnowError, match="gave 2 scores of type double for 3 texts") as caught:
        score_signals({"bad": Counting("bad", wrong=1)}, corpus, tmp_path, progress=False)
    assert caught.value.key == "signals.bad"
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_damaged_score_file_is_made_again(
    corpus_of: CorpusOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, signals = corpus_of(["a", "b", "c"]), {"n": Mentions(words=["a"])}
    before = score_signals(signals, corpus, tmp_path, progress=False)
    [cached] = tmp_path.rglob("*.parquet")
    cached.write_bytes(cached.read_bytes()[:40])
    again = score_signals(signals, corpus, tmp_path, progress=False)
    assert again["n"].scores.equals(before["n"].scores)
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
    assert capsys.readouterr() == ("", "")  # all cached, nothing to wait for


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "short_circuit"])
def test_how_many_processes_score_changes_no_verdict(corpus_of: CorpusOf, tmp_path: Path, mode: Any) -> None:
    corpus = corpus_of([f"a {word} shoe {i}" for i in range(2_500) for word in ("good", "bad")])
    signals = {"a": Mentions(words=["good"]), "b": VaderSentiment(), "c": Duplicate(words=4)}
    one = Filter(name="x", signals=signals, keep="a & b & c", mode=mode)
    two = replace(one, processes=2)
    assert one.fingerprint() == two.fingerprint()
    told: list[int] = []
    judged = [one.judge(corpus, tmp_path / "one", progress=False)]
    judged.append(two.judge(corpus, tmp_path / "two", progress=False, watch=lambda rows, kept: told.append(rows)))
    assert judged[0].fingerprint == judged[1].fingerprint
    assert judged[0].table.equals(judged[1].table)
    assert told == [2_000, 4_000, 5_000]


@pytest.mark.slow
def test_a_fault_in_another_process_is_told_as_here(corpus_of: CorpusOf, tmp_path: Path) -> None:
    chosen = Filter(name="x", signals={"a": Field(column="stars", at_least=1)}, keep="a", processes=2)
    with pytest.raises(WinnowError, match="no column 'stars'"):
        chosen.judge(corpus_of(["a", "b", "c"]), tmp_path, progress=False)
    wrong = Filter(name="x", signals={"a": Counting("bad", wrong=1)}, keep="a", processes=2)
    with pytest.raises(WinnowError, match="gave 2 scores") as caught:
        wrong.judge(corpus_of(["a", "b", "c"]), tmp_path, progress=False)
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
chosen = Filter(name="x", signals=signals, keep="a & b", parts={"c": "a | b"})
verdicts = chosen.judge(corpus, folder / sys.argv[2], progress=False)
print(dataset.fingerprint(), corpus.fingerprint, chosen.fingerprint(), verdicts.fingerprint)
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
