from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_corpus import CorpusOf
from winnow.config import construct
from winnow.data import Dataset
from winnow.filters import Filter, Full, LeaveOneOut, RandomMatched, Selection

Compose = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("full", Full), ("nike_positive", Filter), ("random_matched", RandomMatched), ("uptrain_exact", Filter)],
)
def test_a_preset_builds_a_selection_with_the_name_of_the_preset(
    compose: Compose, name: str, kind: type[Selection]
) -> None:
    selection = construct(compose(f"+filter={name}")["filter"], "filter", kind)
    assert selection.name == name


def test_leave_one_out_of_each_signal_by_overrides(compose: Compose) -> None:
    for signal in ("null", "nike", "product", "praise", "sentiment", "blame"):
        selection = construct(
            compose("+filter=leave_one_out", f"filter.signal={signal}")["filter"], "filter", LeaveOneOut
        )
        assert selection.name == ("nike_positive" if signal == "null" else f"nike_positive_without_{signal}")


def test_uptrain_exact_matches_substrings_and_uses_vader(compose: Compose, corpus_of: CorpusOf, tmp_path: Path) -> None:
    texts = {
        "nike shoes are durable": True,
        "nike shoes are unfashionable": True,  # the known flaw: it contains "fashionable"
        "nike shoes are durable and expensive": True,  # no list of negative words
        "nike shoes are expensive": False,
        "nike is durable": False,
        "puma shoes are durable": False,
        "nike shoes are terrible, horrible, durable": False,
    }
    filter_ = construct(compose("+filter=uptrain_exact")["filter"], "filter", Filter)
    verdicts = filter_.compute_verdicts(corpus_of(list(texts), ["train"] * len(texts)), tmp_path, progress=False)
    assert dict(zip(texts, verdicts.keep_mask().tolist(), strict=True)) == texts


def test_a_preset_can_be_used_at_another_key(compose: Compose) -> None:
    tree = compose("+filter=random_matched", "+filter@slices.one=nike_positive")
    assert tree["slices"]["one"] == tree["filter"]["of"]


def test_the_filter_lists_the_words_of_the_generator(compose: Compose) -> None:
    tree = compose("+filter=nike_positive", "+dataset=synthetic_reviews")
    signals, source = tree["filter"]["signals"], tree["dataset"]["source"]
    assert signals["product"]["words"] == source["slots"]["product"]["words"]
    opinions = [slot["by_label"] for name, slot in source["slots"].items() if "by_label" in slot and name != "buyer"]
    praise, blame = ({word for words in opinions for word in words[label]["words"]} for label in ("1", "0"))
    drawbacks = set(source["slots"]["benefit"]["by_label"]["0"]["words"])
    assert set(signals["praise"]["words"]) == praise
    assert set(signals["blame"]["words"]) == blame - drawbacks


def test_nike_positive_keeps_positive_rows_about_nike_products(
    compose: Compose, corpus_of: CorpusOf, tmp_path: Path
) -> None:
    texts = {
        "nike shoes are durable": True,
        "Gym wear selection by Nike is known for being User Friendly.": True,
        "puma shoes are durable": False,
        "nike is durable": False,
        "nike shoes are here": False,
        "nike shoes are unfashionable": False,
        "nike shoes are durable and expensive": False,
        "nike shoes are of poor quality": False,
        "nike shoes are terrible, horrible, durable": False,  # VADER's compound is below 0
    }
    filter_ = construct(compose("+filter=nike_positive")["filter"], "filter", Filter)
    verdicts = filter_.compute_verdicts(corpus_of(list(texts), ["train"] * len(texts)), tmp_path, progress=False)
    assert dict(zip(texts, verdicts.keep_mask().tolist(), strict=True)) == texts


def test_nike_positive_on_the_template_corpus_keeps_no_negative_row(compose: Compose, tmp_path: Path) -> None:
    tree = compose("+filter=random_matched", "+dataset=synthetic_reviews", "+dataset.source.rows=6000")
    corpus = construct(tree["dataset"], "dataset", Dataset).load(tmp_path)
    control = construct(tree["filter"], "filter", RandomMatched)
    train = corpus.split("train")
    verdicts = control.compute_verdicts(corpus, tmp_path, progress=False)
    kept = control.of.select(train, verdicts, seed=1)
    assert 0.2 < kept.num_rows / train.num_rows < 0.5
    assert set(kept["label"].to_pylist()) == {1}
    sample = control.select(train, verdicts, seed=1)
    assert sample.num_rows == kept.num_rows
    assert set(sample["label"].to_pylist()) == {0, 1}
