from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from fixtures.small_corpus import NIKE, SHOES, UGLY, CorpusOf
from winnow.errors import WinnowError
from winnow.filters import Filter, Full, LeaveOneOut, Length, RandomMatched, Signal, VaderSentiment, Verdicts

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


class NullableSignal(Signal):
    """Has no score for texts with a question mark."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 1.0

    def settings(self) -> dict[str, Any]:
        return {}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        return pa.array([None if text is None or "?" in text else float("!" in text) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        return pc.greater(scores, 0.0)


def about_nike(**settings: Any) -> Filter:
    defaults: dict[str, Any] = {
        "name": "about_nike",
        "signals": {"nike": NIKE, "product": SHOES, "ugly": UGLY},
        "parts": {"wanted": "about & ~ugly", "about": "nike & product"},
        "keep": "wanted",
    }
    return Filter(**(defaults | settings))


def test_every_row_has_a_verdict_of_every_signal(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    table = about_nike().compute_verdicts(corpus, tmp_path, progress=False).table
    assert table.column_names == [
        "row_id", "split", "source", "nike.score", "nike.keep", "product.score", "product.keep", "ugly.score",
        "ugly.keep", "about", "wanted", "keep",
    ]  # fmt: skip
    assert table["row_id"].equals(corpus.table["row_id"])
    assert table["nike.score"].to_pylist() == [1, 1, 1, 0, 1, 0, 1, 1]
    assert table["about"].to_pylist() == [True, True, False, False, True, False, True, True]
    assert table["keep"].to_pylist() == [True, False, False, False, True, False, False, True]


def test_the_summary_matches_hand_counts(corpus_of: CorpusOf, tmp_path: Path) -> None:
    assert about_nike().compute_verdicts(corpus_of(TEXTS), tmp_path, progress=False).summary() == {
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


@pytest.mark.parametrize("cached", [False, True])
def test_the_callback_receives_processed_and_kept_rows(corpus_of: CorpusOf, tmp_path: Path, cached: bool) -> None:
    corpus = corpus_of([f"{'nike shoes' if i % 3 == 0 or i >= 4_000 else 'other'} {i}" for i in range(4_500)])
    if cached:
        about_nike().compute_verdicts(corpus, tmp_path, progress=False)
    counts: list[tuple[int, int]] = []
    signals: list[dict[str, dict[str, int]]] = []

    def record(rows: int, kept: int, signal_counts: Mapping[str, Mapping[str, int]]) -> None:
        counts.append((rows, kept))
        signals.append({name: dict(outcomes) for name, outcomes in signal_counts.items()})

    verdicts = about_nike().compute_verdicts(corpus, tmp_path, progress=False, on_batch=record)
    assert counts == [(2_000, 667), (4_000, 1_334), (4_500, 1_834)]
    assert counts[-1][1] == verdicts.keep_mask().sum()
    assert [sum(outcomes["nike"].values()) for outcomes in signals] == [2_000, 4_000, 4_500]
    assert signals[-1]["nike"]["pass"] == verdicts.column("nike.keep").to_numpy().sum()


def test_kept_training_rows_are_in_corpus_order(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    verdicts = about_nike().compute_verdicts(corpus, tmp_path, progress=False)
    rows = about_nike().select(corpus.split("train"), verdicts, seed=1)
    assert rows["text"].to_pylist() == [TEXTS[0], TEXTS[4]]
    assert verdicts.keep_mask("test").tolist() == [True]
    assert verdicts.keep_mask().sum() == 3


@pytest.mark.parametrize(
    ("on_null", "kept"), [("drop", [True, False, False, False]), ("keep", [True, False, True, False])]
)
def test_a_null_row_follows_the_null_policy(
    corpus_of: CorpusOf, tmp_path: Path, on_null: str, kept: list[bool]
) -> None:
    texts = ["nike!", "nike", "nike?", "puma?", "a", "b"]
    verdicts = Filter(
        name="x",
        signals={"loud": NullableSignal(), "nike": NIKE},
        keep="loud & nike",
        on_null=on_null,  # type: ignore[arg-type]
    ).compute_verdicts(corpus_of(texts), tmp_path, progress=False)
    # null & true is null, null & false is false.
    assert verdicts.keep_mask("train").tolist() == kept
    assert verdicts.table["keep"].null_count == 0
    assert verdicts.summary()["signals"]["loud"] == {"pass": 1, "fail": 1, "null": 2}
    assert [stage["rows"] for stage in verdicts.summary()["funnel"]][-1] == sum(kept)


def test_a_score_can_be_compared_in_the_expression(corpus_of: CorpusOf, tmp_path: Path) -> None:
    verdicts = Filter(name="x", signals={"nike": NIKE}, keep="nike >= 2").compute_verdicts(
        corpus_of(["nike nike", "nike", "NIKE, nike and Nike", "a", "b"]), tmp_path, progress=False
    )
    assert verdicts.keep_mask("train").tolist() == [True, False, True]


@pytest.mark.parametrize(("keep", "amount"), [("nike & ~nike", "none"), ("nike | ~nike", "all")])
def test_a_filter_that_keeps_all_rows_or_none_is_an_error(
    corpus_of: CorpusOf, tmp_path: Path, keep: str, amount: str
) -> None:
    with pytest.raises(WinnowError) as caught:
        about_nike(keep=keep).compute_verdicts(corpus_of(TEXTS), tmp_path, progress=False)
    assert caught.value.key == "keep"
    assert f"keeps {amount} of the 6 training rows" in caught.value.message
    assert "nike 4, product 4, ugly 1" in caught.value.message
    with pytest.raises(WinnowError) as caught:
        RandomMatched(of=about_nike(keep=keep)).compute_verdicts(corpus_of(TEXTS), tmp_path, progress=False)
    assert caught.value.key == "of.keep"


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"keep": "nike & prodct"}, "keep", "unknown signal or part 'prodct'. Did you mean 'product'?"),
        ({"parts": {"wanted": "nike & ugli"}}, "parts.wanted", "Did you mean 'ugly'?"),
        ({"parts": {"wanted": "other", "other": "~wanted"}}, "parts.wanted", "wanted -> other -> wanted"),
        ({"parts": {"wanted": "wanted"}}, "parts.wanted", "wanted -> wanted"),
        ({"parts": {"wanted": "(nike"}}, "parts.wanted", "is not closed"),
        ({"parts": {"wanted": "nike", "nike": "ugly"}}, "parts.nike", "is also the name of a signal"),
        ({"keep": "wanted > 0.5"}, "keep", "'wanted' is a part, and only signals have scores"),
        ({"keep": "nike & known(wanted)"}, "keep", "'wanted' is a part, and only signals have scores"),
        ({"keep": "known(nik)"}, "keep", "Did you mean 'nike'?"),
        ({"signals": {"my signal": NIKE}, "parts": {}}, "signals.my signal", "is not a valid name"),
        ({"parts": {"wanted": "nike", "keep": "ugly"}}, "parts.keep", "is not a valid name"),
    ],
)
def test_errors_of_the_expression_are_raised_at_construction(settings: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(WinnowError) as caught:
        about_nike(**settings)
    assert caught.value.key == key
    assert message in caught.value.message


def test_invalid_values_are_raised_at_construction() -> None:
    for settings in ({"signals": {}}, {"on_null": "maybe"}, {"signals": {"nike": "nike"}}, {"kept": "nike"}):
        with pytest.raises(ValidationError):
            about_nike(**settings)


def test_the_fingerprint_depends_on_everything_but_the_name() -> None:
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


def test_words_are_the_listed_words_of_the_mentions_that_the_expression_uses() -> None:
    signals = {"nike": NIKE, "product": SHOES, "length": Length(at_most=3)}
    assert Filter(name="x", signals=signals, keep="nike").words() == {"nike"}
    assert Filter(name="x", signals=signals, keep="nike & ~any", parts={"any": "product"}).words() == {
        "nike",
        "shoes",
        "caps",
    }
    assert Full().words() == set()


def test_full_keeps_every_row_without_verdicts(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    assert Full().compute_verdicts(corpus, tmp_path) is None
    assert Full().select(corpus.split("train"), None, seed=1).equals(corpus.split("train"))


def test_the_control_draws_a_new_sample_of_the_same_size_for_each_seed(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of([f"{'nike shoes' if i % 3 else 'other'} {i}" for i in range(900)])
    control = RandomMatched(of=about_nike())
    verdicts = control.compute_verdicts(corpus, tmp_path, progress=False)
    train = corpus.split("train")
    kept = about_nike().select(train, verdicts, seed=1)

    def sample(seed: int) -> list[str]:
        ids: list[str] = control.select(train, verdicts, seed)["row_id"].to_pylist()
        return ids

    assert sample(1) == sample(1) == sorted(sample(1))
    assert len(set(sample(1))) == len(sample(1)) == kept.num_rows == verdicts.keep_mask("train").sum()
    assert len({tuple(sample(seed)) for seed in range(5)}) == 5
    # The sample is from all rows. Two thirds of them are kept, so about two thirds of the sample are, too.
    fraction = len(set(sample(1)) & set(kept["row_id"].to_pylist())) / kept.num_rows
    assert fraction == pytest.approx(2 / 3, abs=0.08)
    assert set(sample(1)) <= set(train["row_id"].to_pylist())


@pytest.mark.parametrize(
    ("signal", "kept"),
    [(None, [0, 4]), ("nike", [0, 3, 4]), ("product", [0, 2, 4]), ("ugly", [0, 1, 4])],
)
def test_leave_one_out_keeps_the_rows_that_pass_the_remaining_terms(
    corpus_of: CorpusOf, tmp_path: Path, signal: str | None, kept: list[int]
) -> None:
    corpus = corpus_of(TEXTS)
    reduced = LeaveOneOut(of=about_nike(), signal=signal)
    assert reduced.name == ("about_nike" if signal is None else f"about_nike_without_{signal}")
    rows = reduced.select(corpus.split("train"), reduced.compute_verdicts(corpus, tmp_path, progress=False), seed=1)
    assert rows["text"].to_pylist() == [TEXTS[i] for i in kept]
    assert (reduced.fingerprint() == about_nike().fingerprint()) is (signal is None)
    assert ("nike" in reduced.words()) is (signal != "nike")


@pytest.mark.parametrize("keep", ["wanted", "nike & (product | about) & ~ugly", "at_least(2, about, ugly, product)"])
@pytest.mark.parametrize("signal", ["nike", "product", "ugly"])
def test_leave_one_out_verdicts_equal_those_of_the_smaller_filter(
    corpus_of: CorpusOf, tmp_path: Path, keep: str, signal: str
) -> None:
    corpus = corpus_of(TEXTS)
    complete = about_nike(keep=keep, parts={"wanted": "about & ~ugly", "about": "nike & product", "bad": "ugly"})
    reduced = LeaveOneOut(of=complete, signal=signal)
    verdicts = reduced.compute_verdicts(corpus, tmp_path, progress=False)
    derived = reduced.derive_verdicts(verdicts)
    remaining = {name: other for name, other in complete.signals.items() if name != signal}
    smaller = Filter(name="smaller", signals=remaining, keep=derived.keep, parts=derived.parts)
    expected = smaller.compute_verdicts(corpus, tmp_path, progress=False)
    assert derived.table.equals(expected.table)
    assert derived.fingerprint == expected.fingerprint != verdicts.fingerprint
    assert derived.summary() == {**expected.summary(), "filter": f"about_nike_without_{signal}"}
    assert ("bad" in derived.parts) is (signal != "ugly")
    kept = reduced.select(corpus.split("train"), verdicts, seed=1)["row_id"]
    assert kept.equals(smaller.select(corpus.split("train"), expected, seed=1)["row_id"])


def test_a_signal_that_cannot_be_left_out_is_an_error(corpus_of: CorpusOf, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"no signal 'nik'\. Did you mean 'nike'"):
        LeaveOneOut(of=about_nike(), signal="nik")
    with pytest.raises(WinnowError, match="has no terms left without"):
        LeaveOneOut(of=Filter(name="x", signals={"nike": NIKE}, keep="nike"), signal="nike")
    with pytest.raises(WinnowError, match="Set mode=full"):
        LeaveOneOut(of=about_nike(mode="short_circuit"), signal="nike")
    corpus = corpus_of(["nike"] * 3 + ["nike shoes", "a", "b"])
    reduced = LeaveOneOut(of=about_nike(keep="nike & product", parts={}), signal="product")
    verdicts = reduced.compute_verdicts(corpus, tmp_path, progress=False)
    with pytest.raises(WinnowError, match="keeps every training row"):
        reduced.select(corpus.split("train"), verdicts, seed=1)


def test_saved_verdicts_load_unchanged(corpus_of: CorpusOf, tmp_path: Path) -> None:
    verdicts = about_nike().compute_verdicts(corpus_of(TEXTS), tmp_path, progress=False)
    verdicts.save(tmp_path / "verdicts")
    loaded = Verdicts.load(tmp_path / "verdicts")
    assert loaded.table.equals(verdicts.table)
    assert loaded.summary() == verdicts.summary()
    assert loaded.fingerprint == verdicts.fingerprint
    assert (tmp_path / "verdicts" / "summary.json").exists()


def test_the_fingerprint_of_verdicts_depends_on_their_content(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    same = [about_nike(), about_nike(name="other")]
    different = [about_nike(keep="about"), about_nike(parts={"wanted": "nike", "about": "nike"})]
    fingerprints = [
        filter_.compute_verdicts(corpus, tmp_path, progress=False).fingerprint for filter_ in (*same, *different)
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3
