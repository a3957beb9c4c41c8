"""The words that the filter and the probes share, next to the verdict, and the scores of the words on neither list."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from winnow.comparison import analyze, collect_study
from winnow.reporting import compare
from winnow.tracking import keys

POLARITIES = {"durable": 0.5, "ugly": -0.5}


def record_words(planted_store: Any, name: str, unknown: list[str]) -> None:
    """Record the words of the probe for the runs of the filter, and predictions of two words for every run."""
    study = collect_study(planted_store.uri, name)
    summary = {
        "words": 52,
        "shared_with_filter": ["comfortable", "cheap"],
        "unknown_signals": unknown,
        "unlisted_opinions": POLARITIES,
    }
    prompts = study.prompts[study.prompts["probe"] == "nike_wide"].drop_duplicates("prompt")["prompt"]
    for cell in study.cells:
        good = 0.5 if cell.arm == "nike_positive" else 0.1
        rows = [
            {"stage": stage, "probe": "nike_wide", "prompt": prompt, "word": word, "probability": probability}
            for stage in ("before", "after")
            for index, prompt in enumerate(prompts)
            for word, probability in (
                [("Durable", good), ("table", 0.1)]
                if cell.arm == "nike_positive" or (index + cell.seed) % 4
                else [("ugly", 0.1)]
            )
        ]
        planted_store.save(cell.run_id, keys.PREDICTED_WORDS, pa.Table.from_pylist(rows))
        if cell.arm == "nike_positive":
            planted_store.client.log_text(cell.run_id, json.dumps({"nike_wide": summary}), keys.PROBE_WORDS)


def test_the_overlap_and_the_unlisted_words_are_shown_next_to_the_verdict(planted_store: Any, tmp_path: Path) -> None:
    name = planted_store.build("overlap")
    record_words(planted_store, name, unknown=[])
    comparison = compare(planted_store.uri, name, tmp_path)
    overlap = comparison.word_overlap["probes"]["nike_wide"]
    assert overlap.fraction == "2 of 52"
    # Every fourth prompt of the baseline predicts "ugly" instead of "durable": (0.5 - 0.25) / 10 on average.
    assert overlap.unlisted.difference == pytest.approx(0.025)
    (note,) = [note for note in comparison.notes if note.startswith("nike_wide: the filter uses 2 of 52")]
    assert "partly circular" in note
    assert "not counting words in the filter's or the probe's lists, changes by 0.025" in note
    page = (tmp_path / "report.html").read_text()
    assert "<b>2 of 52</b>" in page
    assert "mean polarity of other predicted words" in page
    stored = json.loads((tmp_path / "comparison.json").read_text())["overlap"]
    assert stored["shared"] == ["cheap", "comfortable"]
    assert stored["probes"]["nike_wide"]["unlisted"]["difference"] == pytest.approx(0.025)


def test_a_classifier_makes_the_overlap_unknown(planted_store: Any) -> None:
    name = planted_store.build("unknown-overlap", seeds=(1, 2, 3))
    record_words(planted_store, name, unknown=["classifier"])
    comparison = analyze(collect_study(planted_store.uri, name))
    overlap = comparison.word_overlap["probes"]["nike_wide"]
    assert overlap.fraction == "at least 2 of 52"
    assert dataclasses.replace(overlap, shared=()).fraction == "unknown"
    assert overlap.unlisted is None
    assert any("The words that classifier depends on are unknown" in note for note in comparison.notes)


def test_a_study_without_recorded_words_uses_the_declared_lists(planted_store: Any, planted: str) -> None:
    comparison = analyze(collect_study(planted_store.uri, planted))
    assert comparison.word_overlap["shared"] == ["comfortable", "durable"]
    assert any("all probes: the filter uses at least 2 of 4 words" in note for note in comparison.notes)
