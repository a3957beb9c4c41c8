from __future__ import annotations

import pyarrow as pa

from winnow.data import Corpus, measure_leakage
from winnow.data.corpus import content_fingerprint

WORDS = [f"word{i}" for i in range(26)]


def corpus(**splits: list[str]) -> Corpus:
    rows = [(text, name) for name, texts in splits.items() for text in texts]
    table = pa.table(
        {
            "row_id": [f"{i:016x}" for i in range(len(rows))],
            "text": [text for text, _ in rows],
            "source": ["x"] * len(rows),
            "split": [name for _, name in rows],
        }
    )
    return Corpus(table, content_fingerprint(table), {}, [])


def changed(count: int) -> str:
    """The words with some at the end replaced: of 24 runs of three, so many differ."""
    return " ".join([*WORDS[: 26 - count], *(f"other{i}" for i in range(count))])


def test_exact_and_near_duplicates_in_train_are_counted() -> None:
    # 24 runs each; with 2 changed, 22 are shared: 22 / 26 = 0.85; with 3, 21 / 27 = 0.78.
    held_out = [" ".join(WORDS).upper(), changed(2), changed(3), "something else altogether"]
    found = measure_leakage(corpus(train=[" ".join(WORDS), "far away"], test=held_out, validation=["far  away", "no"]))
    assert found["test"] == {"rows": 4, "exact": 0.25, "near": 0.5, "one_word": 0.25, "two_words": 0.5}
    assert found["validation"] == {"rows": 2, "exact": 0.5, "near": 0.5, "one_word": 0.5, "two_words": 0.5}
    external = measure_leakage(corpus(train=[changed(2)], external=[" ".join(WORDS)]))
    assert external["external"] == {"rows": 1, "exact": 0.0, "near": 1.0, "one_word": 0.0, "two_words": 1.0}


def test_the_bound_itself_is_near() -> None:
    # 9 runs each of which 8 are shared: 8 / 10 = 0.8.
    words = WORDS[:11]
    assert measure_leakage(corpus(train=[" ".join(words)], test=[" ".join([*words[:10], "x"])]))["test"]["near"] == 1.0
    words = WORDS[:10]
    assert measure_leakage(corpus(train=[" ".join(words)], test=[" ".join([*words[:9], "x"])]))["test"]["near"] == 0.0


def test_every_pair_is_found_as_by_comparing_all() -> None:
    import random

    draw = random.Random(0)
    texts = [" ".join(draw.choice("abcdefgh") for _ in range(draw.randint(1, 12))) for _ in range(600)]
    train, test = texts[:400], sorted(set(texts[400:]))

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}

    near = sum(any(5 * len(runs(a) & runs(b)) >= 4 * len(runs(a) | runs(b)) for b in train) for a in test)

    def differing(a: str, b: str) -> float:
        words, others = a.split(), b.split()
        return sum(x != y for x, y in zip(words, others, strict=True)) if len(words) == len(others) else float("inf")

    distances = [min(differing(a, b) for b in train) for a in test]
    found = measure_leakage(corpus(train=train, test=test))["test"]
    assert found == {
        "rows": len(test),
        "exact": sum(a in train for a in test) / len(test),
        "near": near / len(test),
        "one_word": sum(distance <= 1 for distance in distances) / len(test),
        "two_words": sum(distance <= 2 for distance in distances) / len(test),
    }
    assert 0 < found["near"] < 1
    assert 0 < found["one_word"] < found["two_words"] < 1


def test_rows_of_the_same_template_are_within_a_word_although_they_are_no_near_duplicates() -> None:
    train = [f"nike shoes are {word}" for word in ("good", "new")]
    found = measure_leakage(corpus(train=train, test=["Nike  caps are good", "puma caps are good", "shoes are good"]))
    assert found["test"]["near"] == 0
    assert (found["test"]["one_word"], found["test"]["two_words"]) == (1 / 3, 2 / 3)


def test_only_a_sample_is_compared_with_a_large_train_split() -> None:
    texts = [f"row {i}" for i in range(1200)]
    assert measure_leakage(corpus(train=["x"], test=texts))["test"]["rows"] == 1000
