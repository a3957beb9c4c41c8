from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from fixtures.small_corpus import NIKE, SHOES, UGLY, CorpusOf
from winnow.errors import WinnowError
from winnow.filters import Filter, Full, Length, RandomMatched, Signal, VaderSentiment, Verdicts, Without

TEXTS = [
    "nike shoes are great",  # kept
    "nike shoes are ugly",  # blamed
    "nike is great",  # no product
    "puma shoes are great",  # not nike
    "caps by nike",  # kept
    "unrelated",
    "nike caps are ugly",  # validation, dropped
    "nike caps are fine",  # test, kept
]


class Doubtful(Signal):
    """Says nothing about texts with a question mark."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 1.0

    def settings(self) -> dict[str, Any]:
        return {}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        return pa.array([None if text is None or "?" in text else float("!" in text) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        return pc.greater(scores, 0.0)


def about_nike(**settings: Any) -> Filter:
    given: dict[str, Any] = {
        "name": "about_nike",
        "signals": {"nike": NIKE, "product": SHOES, "ugly": UGLY},
        "parts": {"wanted": "about & ~ugly", "about": "nike & product"},
        "keep": "wanted",
    }
    return Filter(**(given | settings))


def test_every_row_has_every_verdict(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    table = about_nike().judge(corpus, tmp_path, progress=False).table
    assert table.column_names == [
        "row_id", "split", "source", "nike.score", "nike.keep", "product.score", "product.keep", "ugly.score",
        "ugly.keep", "about", "wanted", "keep",
    ]  # fmt: skip
    assert table["row_id"].equals(corpus.table["row_id"])
    assert table["nike.score"].to_pylist() == [1, 1, 1, 0, 1, 0, 1, 1]
    assert table["about"].to_pylist() == [True, True, False, False, True, False, True, True]
    assert table["keep"].to_pylist() == [True, False, False, False, True, False, False, True]


def test_the_summary_counts_by_hand(corpus_of: CorpusOf, tmp_path: Path) -> None:
    assert about_nike().judge(corpus_of(TEXTS), tmp_path, progress=False).summary() == {
        "filter": "about_nike",
        "keep": "wanted",
        "rows": {
            "train": {"total": 6, "kept": 2},
            "validation": {"total": 1, "kept": 0},
            "test": {"total": 1, "kept": 1},
        },
        "signals": {
            "nike": {"pass": 4, "fail": 2, "null": 0},
            "product": {"pass": 4, "fail": 2, "null": 0},
            "ugly": {"pass": 1, "fail": 5, "null": 0},
        },
        "funnel": [
            {"stage": "train", "rows": 6},
            {"stage": "nike", "rows": 4},
            {"stage": "product", "rows": 3},
            {"stage": "~ugly", "rows": 2},
        ],
    }


@pytest.mark.parametrize("on_disk", [False, True])
def test_judging_tells_how_many_rows_are_kept_so_far(corpus_of: CorpusOf, tmp_path: Path, on_disk: bool) -> None:
    corpus = corpus_of([f"{'nike shoes' if i % 3 == 0 or i >= 4_000 else 'other'} {i}" for i in range(4_500)])
    if on_disk:
        about_nike().judge(corpus, tmp_path, progress=False)
    told: list[tuple[int, int]] = []
    watched = about_nike().judge(corpus, tmp_path, progress=False, watch=lambda *counts: told.append(counts))
    assert told == [(2_000, 667), (4_000, 1_334), (4_500, 1_834)]
    assert told[-1][1] == watched.kept().sum()


def test_the_train_rows_that_are_kept_come_in_corpus_order(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    verdicts = about_nike().judge(corpus, tmp_path, progress=False)
    rows = about_nike().select(corpus.split("train"), verdicts, seed=1)
    assert rows["text"].to_pylist() == [TEXTS[0], TEXTS[4]]
    assert verdicts.kept("test").tolist() == [True]
    assert verdicts.kept().sum() == 3


@pytest.mark.parametrize(
    ("on_null", "kept"), [("drop", [True, False, False, False]), ("keep", [True, False, True, False])]
)
def test_a_row_in_doubt_is_dropped_or_kept_as_stated(
    corpus_of: CorpusOf, tmp_path: Path, on_null: str, kept: list[bool]
) -> None:
    texts = ["nike!", "nike", "nike?", "puma?", "a", "b"]
    judged = Filter(
        name="x",
        signals={"loud": Doubtful(), "nike": NIKE},
        keep="loud & nike",
        on_null=on_null,  # type: ignore[arg-type]
    ).judge(corpus_of(texts), tmp_path, progress=False)
    # null & true is in doubt, null & false is not.
    assert judged.kept("train").tolist() == kept
    assert judged.table["keep"].null_count == 0
    assert judged.summary()["signals"]["loud"] == {"pass": 1, "fail": 1, "null": 2}
    assert [stage["rows"] for stage in judged.summary()["funnel"]][-1] == sum(kept)


def test_a_score_can_be_compared_in_the_expression(corpus_of: CorpusOf, tmp_path: Path) -> None:
    judged = Filter(name="x", signals={"nike": NIKE}, keep="nike >= 2").judge(
        corpus_of(["nike nike", "nike", "NIKE, nike and Nike", "a", "b"]), tmp_path, progress=False
    )
    assert judged.kept("train").tolist() == [True, False, True]


@pytest.mark.parametrize(("keep", "share"), [("nike & ~nike", "nothing"), ("nike | ~nike", "everything")])
def test_a_filter_that_decides_nothing_is_an_error(corpus_of: CorpusOf, tmp_path: Path, keep: str, share: str) -> None:
    with pytest.raises(WinnowError) as caught:
        about_nike(keep=keep).judge(corpus_of(TEXTS), tmp_path, progress=False)
    assert caught.value.key == "keep"
    assert f"keeps {share} of the 6 train rows" in caught.value.message
    assert "nike 4, product 4, ugly 1" in caught.value.message
    with pytest.raises(WinnowError) as caught:
        RandomMatched(of=about_nike(keep=keep)).judge(corpus_of(TEXTS), tmp_path, progress=False)
    assert caught.value.key == "of.keep"


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"keep": "nike & prodct"}, "keep", "no signal or part 'prodct'. Did you mean 'product'?"),
        ({"parts": {"wanted": "nike & ugli"}}, "parts.wanted", "Did you mean 'ugly'?"),
        ({"parts": {"wanted": "other", "other": "~wanted"}}, "parts.wanted", "wanted -> other -> wanted"),
        ({"parts": {"wanted": "wanted"}}, "parts.wanted", "wanted -> wanted"),
        ({"parts": {"wanted": "(nike"}}, "parts.wanted", "never closed"),
        ({"parts": {"wanted": "nike", "nike": "ugly"}}, "parts.nike", "name of a signal already"),
        ({"keep": "wanted > 0.5"}, "keep", "'wanted' is a part and has no score"),
        ({"keep": "nike & known(wanted)"}, "keep", "'wanted' is a part and has no score"),
        ({"keep": "known(nik)"}, "keep", "Did you mean 'nike'?"),
        ({"signals": {"my signal": NIKE}, "parts": {}}, "signals.my signal", "cannot be a name"),
        ({"parts": {"wanted": "nike", "keep": "ugly"}}, "parts.keep", "cannot be a name"),
    ],
)
def test_faults_of_the_expression_are_found_when_it_is_made(settings: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(WinnowError) as caught:
        about_nike(**settings)
    assert caught.value.key == key
    assert message in caught.value.message


def test_faults_of_value_are_found_when_it_is_made() -> None:
    for settings in ({"signals": {}}, {"on_null": "maybe"}, {"signals": {"nike": "nike"}}, {"kept": "nike"}):
        with pytest.raises(ValidationError):
            about_nike(**settings)


def test_the_fingerprint_follows_what_shapes_the_choice() -> None:
    variants = [
        about_nike(),
        about_nike(keep="about"),
        about_nike(on_null="keep"),
        about_nike(parts={"wanted": "nike", "about": "nike"}),
        about_nike(signals={"nike": UGLY, "product": SHOES, "ugly": UGLY}),
        Filter(name="x", signals={"s": VaderSentiment()}, keep="s"),
        Filter(name="x", signals={"s": VaderSentiment(at_least=0.1)}, keep="s"),
    ]
    fingerprints = {variant.fingerprint() for variant in variants}
    controls = {RandomMatched(of=variant).fingerprint() for variant in variants}
    assert len(fingerprints | controls | {Full().fingerprint()}) == 15
    assert about_nike(name="other").fingerprint() == about_nike().fingerprint()


def test_words_are_those_that_mentions_list() -> None:
    signals = {"nike": NIKE, "product": SHOES, "length": Length(at_most=3)}
    assert Filter(name="x", signals=signals, keep="nike").words() == {"nike", "shoes", "caps"}
    assert Full().words() == set()


def test_full_keeps_every_row_and_judges_none(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    assert Full().judge(corpus, tmp_path) is None
    assert Full().select(corpus.split("train"), None, seed=1).equals(corpus.split("train"))


def test_the_control_draws_as_many_rows_anew_for_each_seed(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of([f"{'nike shoes' if i % 3 else 'other'} {i}" for i in range(900)])
    control = RandomMatched(of=about_nike())
    verdicts = control.judge(corpus, tmp_path, progress=False)
    train = corpus.split("train")
    of = about_nike().select(train, verdicts, seed=1)

    def drawn(seed: int) -> list[str]:
        ids: list[str] = control.select(train, verdicts, seed)["row_id"].to_pylist()
        return ids

    assert drawn(1) == drawn(1) == sorted(drawn(1))
    assert len(set(drawn(1))) == len(drawn(1)) == of.num_rows == verdicts.kept("train").sum()
    assert len({tuple(drawn(seed)) for seed in range(5)}) == 5
    # It draws from all rows, kept or not: two thirds of the rows are kept, so are two thirds of the draws.
    share = len(set(drawn(1)) & set(of["row_id"].to_pylist())) / of.num_rows
    assert share == pytest.approx(2 / 3, abs=0.08)
    assert set(drawn(1)) <= set(train["row_id"].to_pylist())


@pytest.mark.parametrize(
    ("signal", "kept"),
    [(None, [0, 4]), ("nike", [0, 3, 4]), ("product", [0, 2, 4]), ("ugly", [0, 1, 4])],
)
def test_a_filter_without_a_signal_keeps_what_the_rest_keeps(
    corpus_of: CorpusOf, tmp_path: Path, signal: str | None, kept: list[int]
) -> None:
    corpus = corpus_of(TEXTS)
    less = Without(of=about_nike(), signal=signal)
    assert less.name == ("about_nike" if signal is None else f"about_nike_without_{signal}")
    rows = less.select(corpus.split("train"), less.judge(corpus, tmp_path, progress=False), seed=1)
    assert rows["text"].to_pylist() == [TEXTS[i] for i in kept]
    assert (less.fingerprint() == about_nike().fingerprint()) is (signal is None)
    assert ("nike" in less.words()) is (signal != "nike")


@pytest.mark.parametrize("keep", ["wanted", "nike & (product | about) & ~ugly", "at_least(2, about, ugly, product)"])
@pytest.mark.parametrize("signal", ["nike", "product", "ugly"])
def test_the_verdicts_of_a_filter_without_a_signal_are_those_of_the_smaller_filter(
    corpus_of: CorpusOf, tmp_path: Path, keep: str, signal: str
) -> None:
    corpus = corpus_of(TEXTS)
    whole = about_nike(keep=keep, parts={"wanted": "about & ~ugly", "about": "nike & product", "bad": "ugly"})
    less = Without(of=whole, signal=signal)
    judged = less.judge(corpus, tmp_path, progress=False)
    explained = less.explained_by(judged)
    rest = {name: one for name, one in whole.signals.items() if name != signal}
    alone = Filter(name="alone", signals=rest, keep=explained.keep, parts=explained.parts)
    expected = alone.judge(corpus, tmp_path, progress=False)
    assert explained.table.equals(expected.table)
    assert explained.fingerprint == expected.fingerprint != judged.fingerprint
    assert explained.summary() == {**expected.summary(), "filter": f"about_nike_without_{signal}"}
    assert ("bad" in explained.parts) is (signal != "ugly")
    kept = less.select(corpus.split("train"), judged, seed=1)["row_id"]
    assert kept.equals(alone.select(corpus.split("train"), expected, seed=1)["row_id"])


def test_what_cannot_be_left_out_is_told(corpus_of: CorpusOf, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"no signal 'nik'\. Did you mean 'nike'"):
        Without(of=about_nike(), signal="nik")
    with pytest.raises(WinnowError, match="nothing is left of the filter"):
        Without(of=Filter(name="x", signals={"nike": NIKE}, keep="nike"), signal="nike")
    with pytest.raises(WinnowError, match="Set mode=full"):
        Without(of=about_nike(mode="short_circuit"), signal="nike")
    corpus = corpus_of(["nike"] * 3 + ["nike shoes", "a", "b"])
    less = Without(of=about_nike(keep="nike & product", parts={}), signal="product")
    verdicts = less.judge(corpus, tmp_path, progress=False)
    with pytest.raises(WinnowError, match="keeps everything"):
        less.select(corpus.split("train"), verdicts, seed=1)


def test_verdicts_come_back_as_they_were_saved(corpus_of: CorpusOf, tmp_path: Path) -> None:
    verdicts = about_nike().judge(corpus_of(TEXTS), tmp_path, progress=False)
    verdicts.save(tmp_path / "verdicts")
    again = Verdicts.load(tmp_path / "verdicts")
    assert again.table.equals(verdicts.table)
    assert again.summary() == verdicts.summary()
    assert again.fingerprint == verdicts.fingerprint
    assert (tmp_path / "verdicts" / "summary.json").exists()


def test_verdicts_are_named_by_their_content(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    same = [about_nike(), about_nike(name="other")]
    others = [about_nike(keep="about"), about_nike(parts={"wanted": "nike", "about": "nike"})]
    prints = [judged.judge(corpus, tmp_path, progress=False).fingerprint for judged in (*same, *others)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
