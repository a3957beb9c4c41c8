"""Tests of the filter report, partly in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.small_corpus import CorpusOf
from winnow.data import Corpus, Dataset, Files, NonNull
from winnow.filters import Filter, Length, Mentions, Regex, VaderSentiment, compute_filter_statistics
from winnow.filters.example_rows import segment_text_by_signal
from winnow.reporting.filter_report import (
    describe_nearly_redundant_terms,
    describe_signal,
    summarize_filter,
    write_filter_report,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ADJECTIVES = ["great", "ugly", "comfortable", "bad & <b>bold</b>", "plain", "awful"]


def build_nike_filter(**settings: Any) -> Filter:
    signals = {
        "nike": Mentions(words=["nike"]),
        "product": Mentions(words=["shoes", "caps", "socks", "hats", "shirts", "pants", "trousers"]),
        "mood": VaderSentiment(at_least=0.1),
        "ugly": Mentions(words=["ugly"]),
        "short": Length(at_most=90),
    }
    options: dict[str, Any] = {"keep": "about & mood & ~ugly", "parts": {"about": "nike & product"}}
    return Filter(name="about_nike", signals=signals, **(options | settings))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("data")
    rows = ["text,stars"]
    for i in range(900):
        brand = ("nike", "puma", "adidas")[i % 3]
        rows.append(f'"{brand} shoes number {i % 690} are {ADJECTIVES[i % 6]}",{int(i % 6 in (0, 2))}')
    rows += [",1"] * 30
    (folder / "reviews.csv").write_text("\n".join(rows) + "\n")
    source = Files(path=folder / "reviews.csv", text=["text"], label="stars")
    return Dataset(name="reviews", source=source, integrity={"filled": NonNull(action="drop")}).load(folder)


@pytest.fixture(scope="module")
def report(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    nike_filter = build_nike_filter()
    verdicts = nike_filter.compute_verdicts(corpus, folder, progress=False)
    return write_filter_report(
        verdicts,
        corpus,
        compute_filter_statistics(verdicts, corpus),
        nike_filter.signals,
        folder,
        nike_filter.plan(corpus, folder / "new"),
    )


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (820, "light"), (1280, "light")])
def test_page_shows_all_sections_at_any_width_without_errors(
    report: Path, browser: Browser, find_violations: Any, width: int, scheme: Any
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on(
        "request",
        lambda request: messages.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
    )
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    assert page.title().startswith("about_nike: ")
    for section in ("rule", "funnel", "reasons", "signals", "scores", "words", "drift", "data", "cost", "rows"):
        assert page.locator(f"h2#{section}").is_visible()
        assert page.locator(f"nav a[href='#{section}']").count() == 1
    figures = [element.get_attribute("id") for element in page.locator("figure").all()]
    assert figures == [f"figure-{name}" for name in ("funnel", "reasons", "overlap", "scores", "words")]
    assert all(element.is_visible() for element in page.locator("figure svg").all())
    assert page.locator("#figure-scores svg").count() == 5
    assert find_violations(page) == []
    page.close()


def test_page_is_self_contained_and_small(report: Path) -> None:
    text = report.read_text("utf-8")
    assert len(text) < 1_000_000
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"'](?!data:)", text)
    assert {file.suffix for file in (report.parent / "figures").iterdir()} == {".svg", ".png"}


def test_row_text_is_escaped(report: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    assert "<b>bold</b>" in page.locator("main").inner_text()
    assert page.locator(".rows b").count() == 0
    page.close()


def test_page_summarizes_the_filter_in_sentences(report: Path, browser: Browser, corpus: Corpus) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    verdict = page.locator("#verdict").inner_text()
    assert re.search(r"about_nike keeps \d+ of 5\d\d training rows", verdict)
    assert "product drops no rows." in verdict
    assert "~ugly drops no rows that the other terms keep." in verdict
    assert "Signals that the expression does not use: short." in page.locator("#rule + .expression").inner_text()
    data = page.locator("#data + .two").inner_text()
    assert re.search(r"filled failing rows are dropped\s+930\s+30\s+3\.2%", data)
    assert re.search(r"exact duplicates dropped\s+900\s+210\s+23\.3%", data)
    assert re.search(r"same text in train and test\s+0", data)
    assert re.search(r"test near-duplicates of train rows\s+\d+\s+\d+", data)
    page.locator("summary", has_text="product: all 7 words").click()
    assert page.locator("li", has_text="trousers").is_visible()
    dropped = page.locator("h3:has-text('Dropped by nike only') + ul li")
    assert dropped.count() == 4
    assert "fails nike" in dropped.first.inner_text()
    assert dropped.first.locator("mark").all_inner_texts() == ["shoes"]
    page.close()


def test_page_of_a_short_circuit_filter(corpus: Corpus, tmp_path: Path, browser: Browser) -> None:
    nike_filter = build_nike_filter(mode="short_circuit")
    verdicts = nike_filter.compute_verdicts(corpus, tmp_path, progress=False)
    report = write_filter_report(
        verdicts, corpus, compute_filter_statistics(verdicts, corpus), nike_filter.signals, tmp_path
    )
    page = browser.new_page()
    page.goto(report.as_uri())
    text = page.locator("main").inner_text()
    assert "only the first reason is known" in text
    assert page.locator("#scores").count() == 0
    page.close()


def test_page_without_labels_and_with_one_signal(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of([*("nike $1 shoes", "puma shoes", "nike _caps_") * 9, "a", "b"])
    nike_filter = Filter(name="x", signals={"nike": Mentions(words=["nike"])}, keep="nike")
    verdicts = nike_filter.compute_verdicts(corpus, tmp_path, progress=False)
    text = write_filter_report(
        verdicts, corpus, compute_filter_statistics(verdicts, corpus), nike_filter.signals, tmp_path
    ).read_text("utf-8")
    assert "66.7% of training rows kept" in text
    assert "labeled" not in text
    assert "with label 1" not in text


def test_text_is_split_at_matches() -> None:
    signals = {
        "brand": Mentions(words=["Nike", "nike air"]),
        "number": Regex(pattern=r"\d+"),
        "air": Mentions(words=["AIR"], whole_word=False),
        "long": Length(at_least=3),
    }
    assert segment_text_by_signal("My NIKE-Air 90 chair", signals) == [
        ("My ", []), ("NIKE-", ["brand"]), ("Air", ["air", "brand"]), (" ", []), ("90", ["number"]), (" ch", []),
        ("air", ["air"]),
    ]  # fmt: skip
    assert "".join(piece for piece, _ in segment_text_by_signal("Stra\u00dfe nike", signals)) == "Stra\u00dfe nike"
    assert segment_text_by_signal("", signals) == []


def test_signals_are_described_with_their_settings() -> None:
    description = describe_signal(Mentions(words=list("abcdefgh"), whole_word=False))
    assert description["lists"] == {"words": list("abcdefgh")}
    assert description["settings"] == {"whole_word": "False"}
    assert description["does"].startswith("Counts case-insensitive mentions")
    assert describe_signal(VaderSentiment(bands=["neutral", "positive"]))["settings"] == {"bands": "neutral, positive"}
    assert describe_signal(Length(at_most=9))["settings"] == {"at_most": "9"}


def test_summary_sentences() -> None:
    summary = {"filter": "x", "rows": {"train": {"total": 10_000, "kept": 4_000}}}
    terms = {"a": {"drops": 5_000, "only": 4_500}, "b": {"drops": 900, "only": 3}, "c": {"drops": 2, "only": 0}}
    statistics = {
        "terms": terms,
        "reasons": [{"terms": ["a"], "rows": 4_500}],
        "redundant": ["`c` drops no rows that the other terms keep."],
        "labels": {"precision": 0.9375, "recall": 0.5, "kept": {}},
    }
    assert summarize_filter(summary, statistics) == [
        "x keeps 4,000 of 10,000 training rows and drops 6,000.",
        "4,500 of the dropped rows (75%) are dropped by `a` only, more than by any other single term.",
        "1,497 rows (25%) are dropped by more than one term.",
        "`c` drops no rows that the other terms keep.",
        "`b` drops almost no rows that the other terms keep: 3 of 10,000.",
        "Precision: 93.8% of the kept rows with a label have label 1. Recall: 50.0% of the rows with label 1 are kept.",
    ]
    assert describe_nearly_redundant_terms(summary, statistics) == [summarize_filter(summary, statistics)[4]]
