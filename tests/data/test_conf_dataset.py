from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.config import construct
from winnow.data import Dataset, Files, Grammar, HubDataset, Mixture, TextFiles, count_shared_texts

Compose = Callable[..., dict[str, Any]]
PRESETS = [
    "synthetic_reviews", "nike_products", "nike_reviews", "nike_products_kaggle", "nike", "wikitext_2", "eli5",
    "uptrain_reviews",
]  # fmt: skip


def dataset_from(tree: dict[str, Any]) -> Dataset:
    return construct(tree["dataset"], "dataset", Dataset)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_a_dataset_of_its_own_name(compose: Compose, name: str) -> None:
    assert dataset_from(compose("+data_dir=data", f"+dataset={name}")).name == name


@pytest.mark.parametrize("name", PRESETS[1:4])
def test_a_preset_for_a_file_says_where_to_get_it(compose: Compose, name: str, tmp_path: Path) -> None:
    dataset = dataset_from(compose(f"+data_dir={tmp_path}", f"+dataset={name}"))
    assert isinstance(dataset.source, Files)
    assert dataset.source.licence
    [fault] = dataset.check()
    assert f"Download it from {dataset.source.homepage}" in fault.message


def test_a_file_of_ones_own_by_overrides_alone(compose: Compose, write_csv: Callable[..., Path]) -> None:
    path = write_csv("Title,Review Text\nGood,Fits\n")
    tree = compose("+dataset=csv", f"dataset.source.path={path}", "dataset.source.text=[Title,Review Text]")
    source = dataset_from(tree).source
    assert source.check() == []
    assert source.read()["text"].to_pylist() == ["Good Fits"]


def test_plain_text_and_the_hub_by_overrides_alone(compose: Compose) -> None:
    text = dataset_from(compose("+dataset=text", "dataset.source.path=book.txt", "+dataset.source.unit=paragraph"))
    assert text.source == TextFiles(path=Path("book.txt"), unit="paragraph")
    hub = dataset_from(compose("+dataset=hub", "dataset.source.name=a/b", "dataset.source.text=[answers.text]"))
    assert hub.source == HubDataset(name="a/b", text=["answers.text"])


def test_a_mixture_is_put_together_by_overrides(compose: Compose) -> None:
    tree = compose(
        "+dataset=mixture",
        "+dataset/source@dataset.source.sources.templates=synthetic_reviews",
        "+dataset/source@dataset.source.sources.mine=csv",
        "dataset.source.sources.mine.path=mine.csv",
        "dataset.source.sources.mine.text=[text]",
    )
    source = dataset_from(tree).source
    assert isinstance(source, Mixture)
    assert {name: type(part) for name, part in source.sources.items()} == {
        "templates": Grammar,
        "mine": Files,
    }


def test_the_nike_corpus_from_the_real_files(compose: Compose, shared_data: Path, tmp_path: Path) -> None:
    dataset = dataset_from(compose(f"+data_dir={shared_data}", "+dataset=nike"))
    assert dataset.check() == []
    corpus = dataset.load(tmp_path)
    assert corpus.funnel["read"] == 643 + 236 + 112 + 25_000
    patterns: dict[tuple[str, str], set[str]] = {}
    for row in corpus.table.select(["template", "joiner", "split"]).to_pylist():
        if row["template"] is not None:
            patterns.setdefault((row["template"], row["joiner"]), set()).add(row["split"])
    assert len(patterns) == 22
    assert all(len(splits) == 1 for splits in patterns.values())
    assert count_shared_texts(corpus) == {"train/validation": 0, "train/test": 0, "validation/test": 0}
    # None of the 991 real rows is without text: where a description is missing there is a name.
    without_templates = ["~dataset.source.sources.templates", "dataset.split.group_by=[]"]
    real = dataset_from(compose(f"+data_dir={shared_data}", "+dataset=nike", *without_templates))
    assert real.load(tmp_path).funnel["cleaned"] == 991
    texts = corpus.table["text"].to_pylist()
    assert all(text == text.lower() == " ".join(text.split()) for text in texts)
    assert not any(character.isdigit() or character in "-'.,!" for text in texts for character in text)
    assert set(Counter(corpus.table["source"].to_pylist())) == {
        "products", "reviews", "products_kaggle", "templates"
    }  # fmt: skip


def test_the_clothing_reviews_by_overrides_alone(compose: Compose, shared_data: Path, tmp_path: Path) -> None:
    tree = compose(
        "+dataset=csv",
        f"dataset.source.path={shared_data}/clothing_reviews.csv",
        "dataset.source.text=[Review Text]",
        "+dataset.source.label=Rating",
    )
    corpus = dataset_from(tree).load(tmp_path)
    assert (corpus.funnel["read"], corpus.funnel["with_text"]) == (1_000, 958)
    assert set(corpus.table["label"].to_pylist()) == {1, 2, 3, 4, 5}
