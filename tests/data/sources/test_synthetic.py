from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from winnow.config import construct
from winnow.data import Dataset, Grammar, Slot, Words
from winnow.errors import WinnowError

FIRST_TEXTS = ["wristbands made by vans feature premium", "hats made by adidas boast disappointing"]
DIGEST = "1d9ef8fcfd878d24"

Compose = Callable[..., dict[str, Any]]


def small(**settings: Any) -> Grammar:
    given: dict[str, Any] = {
        "templates": ["{brand} is {adjective}"],
        "slots": {
            "brand": Slot(words=["nike", "nike", "nike", "puma"]),
            "adjective": Slot(by_label={1: Words(["light"]), 0: Words(["heavy"])}),
        },
        "labels": {0: 0.25, 1: 0.75},
        "rows": 4_000,
    }
    return Grammar(**(given | settings))


def test_the_rows_follow_the_seed() -> None:
    assert small(seed=1).read().equals(small(seed=1).read())
    assert not small(seed=1).read().equals(small(seed=2).read())
    assert small(seed=1).fingerprint() != small(seed=2).fingerprint()


def test_shares_are_those_asked_for() -> None:
    table = small(null_fraction=0.0).read()
    texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
    # Four standard deviations of a binomial share of 4,000 draws.
    assert labels.count(0) / 4_000 == pytest.approx(0.25, abs=0.028)
    assert sum(text.startswith("nike") for text in texts) / 4_000 == pytest.approx(0.75, abs=0.028)


def test_the_label_says_which_list_the_adjective_is_from() -> None:
    table = small(null_fraction=0.0).read()
    for text, label in zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True):
        assert text.endswith("light" if label else "heavy")


def test_nulls_are_drawn_with_replacement() -> None:
    nulls = small(null_fraction=0.5).read()["text"].null_count
    # 2,000 draws from 4,000 rows hit 4,000 (1 - exp(-1/2)) = 1,574 rows, give or take.
    assert nulls == pytest.approx(1_574, abs=80)
    assert small(null_fraction=0.0).read()["text"].null_count == 0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"templates": ["{brnad} is {adjective}"]}, "templates"),
        ({"templates": ["{brand} is good"]}, "templates"),
        ({"templates": ["{brand.__class__} is {adjective}"]}, "templates"),
        ({"templates": ["{brand is {adjective}"]}, "templates"),
        ({"labels": {0: 0.2, 1: 0.7}}, "labels"),
        ({"labels": {0: 0.2, 2: 0.8}}, "slots.adjective.by_label"),
        ({"labels": None}, "slots.adjective.by_label"),
        ({"columns": ["brnad"]}, "columns"),
        (
            {
                "slots": {"template": Slot(words=["a"]), "adjective": Slot(words=["b"])},
                "labels": None,
                "templates": ["{template} {adjective}"],
            },
            "slots.template",
        ),
        ({"parts": {"brand": ["the {adjective}"]}}, "parts.brand"),
        ({"templates": ["{end}"], "parts": {"end": ["is {adjectve}"]}}, "templates"),
    ],
)
def test_a_template_that_cannot_be_filled_is_a_fault(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(WinnowError) as caught:
        small(**settings)
    assert caught.value.key == key


def test_the_corpus_of_uptrains_example_is_unchanged(compose: Compose) -> None:
    node = compose("+dataset=uptrain_reviews")["dataset"]["source"]
    source = construct(node, "source", Grammar)
    assert source.templates == [
        "{company} {product} {joiner} {adjective}",
        "{product} made by {company} {joiner} {adjective}",
    ]
    assert len(set(source.slots["product"].words)) == 24
    praise, blame = (source.slots["adjective"].by_label[label].words for label in (1, 0))
    assert (len(praise), len(blame)) == (43, 25)
    assert (len(source.slots["company"].words), source.slots["company"].words.count("nike")) == (15, 7)
    assert len(source.slots["joiner"].words) == 11
    table = source.read()
    texts = [text for text in table["text"].to_pylist() if text is not None]
    assert table.num_rows == 25_000
    assert table["text"].null_count == pytest.approx(1_219, abs=40)
    assert 0.45 < sum(" made by " in text for text in texts) / len(texts) < 0.55
    assert not any("nikeadidas" in text or "nan" in text.split() for text in texts)
    # The rows of a seed are the same for ever.
    assert texts[:2] == FIRST_TEXTS
    assert hashlib.blake2b("\n".join(texts).encode(), digest_size=8).hexdigest() == DIGEST


def test_any_grammar_from_yaml_with_three_labels_and_columns() -> None:
    node = {
        "_target_": "winnow.data.Grammar",
        "templates": ["the {animal} is {mood}", "{mood} {animal}"],
        "slots": {
            "animal": {"words": ["cat", "dog"]},
            "mood": {
                "by_label": {"0": {"words": ["sad"]}, "1": {"words": ["calm"]}, "2": {"words": ["glad", "merry"]}}
            },
        },
        "labels": {"0": 0.2, "1": 0.3, "2": 0.5},
        "rows": 3_000,
        "null_fraction": 0.0,
        "columns": ["animal"],
    }
    table = construct(node, "source", Grammar).read()
    moods = {"sad": 0, "calm": 1, "glad": 2, "merry": 2}
    for row in table.to_pylist():
        assert row["animal"] in row["text"].split()
        assert [moods[word] for word in row["text"].split() if word in moods] == [row["label"]]
    shares = [table["label"].to_pylist().count(label) / 3_000 for label in range(3)]
    assert shares == pytest.approx([0.2, 0.3, 0.5], abs=0.04)
    unlabelled = Grammar(templates=["a {noun}"], slots={"noun": Slot(words=["cat"])}, rows=5, null_fraction=0.0)
    assert unlabelled.read().to_pydict() == {"text": ["a cat"] * 5, "template": ["a {noun}"] * 5, "noun": ["cat"] * 5}


def test_each_row_records_its_template_and_the_words_of_the_slots_it_uses() -> None:
    source = Grammar(
        templates=["the {animal} is {mood}", "it is {mood}"],
        slots={"animal": Slot(words=["cat", "dog"]), "mood": Slot(words=["calm", "glad"])},
        rows=200,
        null_fraction=0.0,
    )
    rows = source.read().to_pylist()
    for row in rows:
        assert row["text"] == row["template"].format(animal=row["animal"], mood=row["mood"])
        assert (row["animal"] is None) == (row["template"] == "it is {mood}")
    assert {row["template"] for row in rows} == set(source.templates)
    assert dataclasses.replace(source, columns=["template"]).read().column_names == ["text", "template"]


def test_a_template_with_parts_stands_for_all_combinations_of_their_phrases() -> None:
    settings: dict[str, Any] = {"rows": 500, "null_fraction": 0.0, "slots": {"noun": Slot(words=["cat", "dog"])}}
    parts = {"start": ["the {noun}", "a {noun}"], "end": ["is calm", "likes a {noun}"]}
    source = Grammar(templates=["{start} {end}", "no {noun}"], parts=parts, **settings)
    written_out = Grammar(
        templates=[
            "the {noun} is calm", "the {noun} likes a {noun}", "a {noun} is calm", "a {noun} likes a {noun}",
            "no {noun}",
        ],
        **settings,
    )  # fmt: skip
    assert source.read().equals(written_out.read())
    assert source.fingerprint() != written_out.fingerprint()
    assert source.fingerprint() != Grammar(templates=source.templates, parts={**parts, "end": ["is"]}, **settings)


def test_the_demo_corpus_holds_out_templates(compose: Compose, tmp_path: Path) -> None:
    dataset = construct(compose("+dataset=synthetic_reviews")["dataset"], "dataset", Dataset)
    table = dataset.load(tmp_path).table
    splits: dict[str, set[str]] = {}
    for template, split in zip(table["template"].to_pylist(), table["split"].to_pylist(), strict=True):
        splits.setdefault(template, set()).add(split)
    assert all(len(names) == 1 for names in splits.values())
    counts = Counter(name for (name,) in splits.values())
    assert counts["test"] >= 20
    assert counts["validation"] >= 20
    words = {split: set(" ".join(table.filter(pc.equal(table["split"], split))["text"].to_pylist()).split())
             for split in counts}  # fmt: skip
    assert words["test"] | words["validation"] <= words["train"], "held-out templates are new combinations of words"


def test_a_slot_has_words_or_words_by_label() -> None:
    for settings, count in (({}, "neither"), ({"words": ["a"], "by_label": {0: Words(["b"])}}, "both")):
        with pytest.raises(WinnowError, match=f"got {count}. Set exactly one of them"):
            Slot(**settings)


def test_rows_of_a_slot_can_be_kept_together(compose: Compose, tmp_path: Path) -> None:
    tree = compose(
        "+dataset=uptrain_reviews", "+dataset.source.rows=6000", "+dataset.split.group_by=[product]",
    )["dataset"]  # fmt: skip
    corpus = construct(tree, "dataset", Dataset).load(tmp_path)
    pairs = set(zip(corpus.table["product"].to_pylist(), corpus.table["split"].to_pylist(), strict=True))
    assert len(pairs) == 24


def test_verbs_agree_with_the_noun() -> None:
    settings: dict[str, Any] = {
        "templates": ["these {noun} {verb} {adjective} in this shop", "{noun} feel {adjective}"],
        "slots": {
            "noun": Slot(words=["hoodies", "jacket"]),
            "verb": Slot(words=["is", "are known for being"]),
            "adjective": Slot(words=["soft"]),
        },
        "labels": None,
        "rows": 60,
        "null_fraction": 0.0,
    }
    forms = {"are": "is", "these": "this", "feel": "feels"}
    agreement = {"noun": "noun", "singular": ["jacket"], "forms": forms, "slots": ["verb"]}
    plain, agreed = small(**settings), small(**settings, agreement=agreement)
    assert set(agreed.read()["text"].to_pylist()) == {
        "these hoodies are soft in this shop",
        "these hoodies are known for being soft in this shop",
        "hoodies feel soft",
        "this jacket is soft in this shop",
        "this jacket is known for being soft in this shop",
        "jacket feels soft",
    }
    assert agreed.read().drop_columns(["text", "verb"]) == plain.read().drop_columns(["text", "verb"])
    assert agreed.fingerprint() != plain.fingerprint()
    for changed, key in (
        ({"noun": "nuon"}, "agreement.noun"),
        ({"slots": ["verbs"]}, "agreement.slots"),
        ({"singular": ["jackets"]}, "agreement.singular"),
    ):
        with pytest.raises(WinnowError) as caught:
            small(**settings, agreement=agreement | changed)
        assert caught.value.key == key
    assert plain.fingerprint() == small(**settings, agreement=None).fingerprint()


@pytest.mark.parametrize(("dataset", "option"), [("synthetic_reviews", "products"), ("uptrain_reviews", "uptrain")])
def test_the_template_corpora_have_an_agreement_option(compose: Compose, dataset: str, option: str) -> None:
    node = compose(f"+dataset={dataset}")["dataset"]["source"] | {"rows": 4_000}
    with_option = compose(f"+dataset={dataset}", f"+agreement@dataset.source.agreement={option}")["dataset"]["source"]
    tables = [
        construct(source, "dataset.source", Grammar).read()
        for source in (node, node | {"agreement": with_option["agreement"]})
    ]
    plain, agreed = ([text for text in table["text"].to_pylist() if text] for table in tables)
    assert any("hoodies is " in text or "gym wear are " in text or "these gym wear" in text for text in plain)
    assert not [text for text in agreed if "hoodies is " in text or "wear are " in text or "these gym wear" in text]
    singular = ("gym wear", "athletic wear", "sports wear", "performance gear")
    differing = [(a, b) for a, b in zip(plain, agreed, strict=True) if a != b]
    assert 0.02 < len(differing) / len(plain) < 0.5
    if dataset == "synthetic_reviews":  # only singular nouns change the sentence
        assert all(any(noun in text for noun in singular) for text, _ in differing)
