from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_corpus import CorpusOf
from winnow.config import construct
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter, Length, PythonFunction, compute_filter_statistics

MODULE = """
def loudness(texts, mark="!"):
    return [None if text is None else text.count(mark) for text in texts]

def fails_on_trouble(texts):
    return [1 / (text != "trouble") for text in texts]

def skips_trouble(texts):
    return [1.0 for text in texts if text != "trouble"]
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "my_scores.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    yield importlib.import_module("my_scores")
    sys.modules.pop("my_scores")


def node(function: str, **settings: Any) -> dict[str, Any]:
    target = {"_target_": f"my_scores.{function}", "_partial_": True}
    return {"_target_": "winnow.filters.PythonFunction", "function": {**target, **settings}, "at_least": 1}


def test_a_function_is_constructed_from_an_allowed_package(functions: Any) -> None:
    signal = construct(node("loudness", mark="?"), "filter.signals.loud", PythonFunction, ["my_scores"])
    scores = signal.score(["a?", "!", "??", None])
    assert scores.to_pylist() == [1, 0, 2, None]
    assert signal.keep(scores).to_pylist() == [True, False, True, None]
    copy = pickle.loads(pickle.dumps(signal))
    assert copy.fingerprint() == signal.fingerprint()
    assert copy.thresholds() == {"at_least": 1, "at_most": None}


@pytest.mark.parametrize(
    ("tree", "allow", "message"),
    [
        (node("loudness"), [], "not on the list of allowed targets"),
        (node("loudnes"), ["my_scores"], "has no class 'loudnes'"),
        (node("loudness", marc="?"), ["my_scores"], "marc"),
        ({**node("loudness"), "function": {"_target_": "my_scores.loudness"}}, ["my_scores"], "_partial_: true"),
        (
            {**node("loudness"), "function": {"_target_": "winnow.data.cleaning.clean_texts", "_partial_": True}},
            [],
            "no class",
        ),
    ],
)
def test_an_invalid_target_is_an_error(functions: Any, tree: dict[str, Any], allow: list[str], message: str) -> None:
    with pytest.raises(WinnowErrors, match=message):
        construct(tree, "filter.signals.loud", PythonFunction, allow)


def test_an_error_names_the_row_at_which_the_function_fails(
    functions: Any, corpus_of: CorpusOf, tmp_path: Path
) -> None:
    texts = [f"text {i}" for i in range(32_000)]
    texts[31_414] = "trouble"
    corpus = corpus_of(texts)

    def compute_verdicts(function: Any, **settings: Any) -> Any:
        signals = {"mine": PythonFunction(function=function, at_least=0.5, **settings)}
        return Filter(name="x", signals=signals, keep="mine").compute_verdicts(corpus, tmp_path, progress=False)

    with pytest.raises(WinnowError, match=r"raised ZeroDivisionError on row 31,415 \('trouble'\)") as caught:
        compute_verdicts(functions.fails_on_trouble)
    assert caught.value.key == "signals.mine"
    with pytest.raises(WinnowError, match=r"1999 scores .* \(rows 30,001 to 32,000\).* The first such row is 31,415"):
        compute_verdicts(functions.skips_trouble)
    for function in (functions.fails_on_trouble, functions.skips_trouble):
        summary = compute_verdicts(function, on_error="null").summary()
        assert summary["signals"]["mine"] == {"pass": 31_997, "fail": 0, "null": 1}


@pytest.mark.parametrize("function", ["fails_on_trouble", "skips_trouble"])
@pytest.mark.parametrize("mode", ["full", "short_circuit"])
def test_rows_at_which_a_function_fails_are_dropped_and_counted(
    functions: Any, corpus_of: CorpusOf, tmp_path: Path, function: str, mode: Any
) -> None:
    corpus = corpus_of(["some text", "trouble", "other", "trouble", "no", "a", "b"])

    def compute_verdicts(keep: str, on_error: Any) -> Any:
        mine = PythonFunction(function=getattr(functions, function), at_least=0.5, on_error=on_error)
        signals = {"mine": mine, "long": Length(at_least=5)}
        return Filter(name="x", signals=signals, keep=keep, mode=mode).compute_verdicts(
            corpus, tmp_path, progress=False
        )

    # Another signal saves a row without a score, unless it is to be dropped.
    assert compute_verdicts("mine & long | long", "null").keep_mask("train").tolist() == [True, True, True, True, False]
    dropping = compute_verdicts("mine & long | long", "drop")
    assert dropping.keep_mask("train").tolist() == [True, False, True, False, False]
    assert dropping.reasons("train").to_pylist()[1] == ["known(mine)"]
    assert compute_filter_statistics(dropping, corpus)["terms"]["known(mine)"]["drops"] == 2
    if mode == "full":
        assert dropping.summary()["signals"]["mine"]["null"] == 2


def test_another_source_or_argument_is_another_score(functions: Any, tmp_path: Path) -> None:
    loud = functools.partial(functions.loudness, mark="!")
    prints = {
        PythonFunction(function=function, at_least=1, revision=revision).fingerprint()
        for function, revision in (
            (functions.loudness, 0),
            (loud, 0),
            (functools.partial(functions.loudness, mark="?"), 0),
            (loud, 1),
        )
    }
    assert len(prints) == 4
    assert (
        PythonFunction(function=loud, at_least=1).fingerprint()
        == PythonFunction(function=loud, at_least=9).fingerprint()
    )
    first = Filter(name="x", signals={"a": PythonFunction(function=loud, at_least=1)}, keep="a")
    again = Filter(name="x", signals={"a": PythonFunction(function=functools.partial(loud), at_least=1)}, keep="a")
    assert first.fingerprint() == again.fingerprint()
    dropping = PythonFunction(function=loud, at_least=1, on_error="drop")
    unsure = PythonFunction(function=loud, at_least=1, on_error="null")
    assert dropping.fingerprint() == unsure.fingerprint()  # the same scores, and other verdicts
    assert dropping.thresholds() != unsure.thresholds()
    assert "0x" not in str(PythonFunction(function=loud, at_least=1).settings())
