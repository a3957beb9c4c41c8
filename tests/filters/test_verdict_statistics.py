from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fixtures.small_corpus import NIKE, SHOES, UGLY, CorpusOf
from winnow.data import Dataset, Files
from winnow.filters import Filter, Length, Mentions, compute_filter_statistics
from winnow.filters.verdict_statistics import compute_label_statistics

TEXTS = [
    "nike shoes are great",  # kept
    "nike shoes are ugly",  # only ~ugly drops it
    "nike is great",  # only product drops it
    "ugly puma socks",  # all three drop it
    "caps by nike",  # kept
    "puma is great",  # nike and product drop it
    "a",
    "b",
]


def about_nike(keep: str, **parts: str) -> Filter:
    signals = {"nike": NIKE, "product": SHOES, "ugly": UGLY, "short": Length(at_most=30)}
    return Filter(name="about_nike", signals=signals, parts=parts, keep=keep)


def test_drops_match_hand_counts(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of(TEXTS)
    verdicts = about_nike("about & ~ugly & short", about="nike & product").compute_verdicts(
        corpus, tmp_path, progress=False
    )
    statistics = compute_filter_statistics(verdicts, corpus)
    assert statistics["terms"] == {
        "nike": {"drops": 2, "only": 0},
        "product": {"drops": 3, "only": 1},
        "~ugly": {"drops": 2, "only": 1},
        "short": {"drops": 0, "only": 0},
    }
    assert statistics["redundant"] == ["`nike` drops no rows that the other terms keep.", "`short` drops no rows."]
    counts_without = {name: (counts["gain"], counts["lose"]) for name, counts in statistics["signals"].items()}
    assert counts_without == {"nike": (0, 0), "product": (1, 0), "ugly": (1, 0), "short": (0, 0)}
    pair = next(pair for pair in statistics["pairs"] if pair["signals"] == ["nike", "product"])
    assert pair == {
        "signals": ["nike", "product"],
        "both_pass": 3,
        "both_fail": 2,
        "conflict": 1,
        "overlap": 3 / 4,
    }
    assert statistics["reasons"] == [
        {"terms": ["~ugly"], "rows": 1},
        {"terms": ["product"], "rows": 1},
        {"terms": ["nike", "product"], "rows": 1},
        {"terms": ["nike", "product", "~ugly"], "rows": 1},
    ]
    assert statistics["overlap"]["nike"] == {"nike": 2, "product": 2, "~ugly": 1, "short": 0}
    assert statistics["sources"] == {"small": {"total": 6, "kept": 2}}
    assert statistics["leakage"] == {"train/validation": 0, "train/test": 0, "validation/test": 0}
    assert statistics["speed"]["rows"] == 8
    assert "labels" not in statistics
    assert all(counts["rows_per_second"] > 0 for counts in statistics["signals"].values())


def test_statistics_of_a_dataset_with_duplicates(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f"shoe {i % 80} of nike\n" for i in range(100)))
    corpus = Dataset(name="shoes", source=Files(path=tmp_path / "texts.csv", text=["text"])).load(tmp_path)
    filter_ = Filter(name="x", signals={"even": Mentions(words=["2"])}, keep="~even")
    statistics = compute_filter_statistics(filter_.compute_verdicts(corpus, tmp_path, progress=False), corpus)
    assert statistics["duplicates"] == {"rows": 100, "dropped": 20, "rate": 0.2}
    assert statistics["near_leakage"] == corpus.leakage
    assert set(statistics["near_leakage"]["test"]) == {"rows", "exact", "near", "one_word", "two_words"}
    assert set(json.loads(json.dumps(statistics, allow_nan=False))) == {
        "terms", "reasons", "overlap", "signals", "pairs", "redundant", "histograms", "drift", "words", "sources",
        "duplicates", "leakage", "near_leakage", "speed",
    }  # fmt: skip


@pytest.mark.parametrize("keep", ["nike & (product | ugly)", "some & nike", "at_least(2, nike, product, ugly) & nike"])
@pytest.mark.parametrize("signal", ["nike", "product", "ugly"])
def test_gain_and_lose_match_the_filter_without_the_signal(
    corpus_of: CorpusOf, tmp_path: Path, keep: str, signal: str
) -> None:
    corpus = corpus_of(TEXTS)
    complete = about_nike(keep, some="product | ugly")
    verdicts = complete.compute_verdicts(corpus, tmp_path, progress=False)
    kept = verdicts.keep_mask("train")
    remaining = {name: other for name, other in complete.signals.items() if name not in (signal, "short")}
    texts = {
        ("nike & (product | ugly)", "nike"): "product | ugly",
        ("nike & (product | ugly)", "product"): "nike & ugly",
        ("nike & (product | ugly)", "ugly"): "nike & product",
        ("some & nike", "nike"): "product | ugly",
        ("some & nike", "product"): "ugly & nike",
        ("some & nike", "ugly"): "product & nike",
        ("at_least(2, nike, product, ugly) & nike", "nike"): "product & ugly",
        ("at_least(2, nike, product, ugly) & nike", "product"): "nike & ugly",
        ("at_least(2, nike, product, ugly) & nike", "ugly"): "nike & product",
    }
    reduced = Filter(name="x", signals=remaining, keep=texts[keep, signal]).compute_verdicts(
        corpus, tmp_path, progress=False
    )
    counts_without = compute_filter_statistics(verdicts, corpus)["signals"][signal]
    assert counts_without["gain"] == (reduced.keep_mask("train") & ~kept).sum()
    assert counts_without["lose"] == (kept & ~reduced.keep_mask("train")).sum()


def test_precision_and_recall_of_labels() -> None:
    labels = pa.chunked_array([[1, 0, None], [1, 1, 0]], pa.int64())
    kept = np.array([True, True, True, True, False, False])
    assert compute_label_statistics(labels, kept) == {
        "kept": {"0": {"total": 2, "kept": 1}, "1": {"total": 3, "kept": 2}},
        "precision": 2 / 3,
        "recall": 2 / 3,
    }
    stars = compute_label_statistics(pa.chunked_array([[5, 3]]), np.array([True, False]))
    assert stars == {"kept": {"3": {"total": 1, "kept": 0}, "5": {"total": 1, "kept": 1}}}
    assert compute_label_statistics(pa.chunked_array([[0, 0]]), np.array([False, False]))["precision"] is None
