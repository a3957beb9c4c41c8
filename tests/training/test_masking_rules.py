"""The rules of each masking, against the counts over 100,000 tokens."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from winnow.errors import WinnowError
from winnow.training import ChosenWordMasking, Masking, SpanMasking, TokenRows, WholeWordMasking, tokenize
from winnow.training.masking import IGNORED
from winnow.training.tokens import WORD

from .test_masking import VOCABULARY, rows_of

WORDS = 100_000


@pytest.fixture(scope="module")
def pieces() -> TokenRows:
    """100,000 tokens between separators, in words of 1 to 4 tokens, 20 tokens a row."""
    rows = rows_of(5000, 20)
    draw = np.random.default_rng(1)
    starts = (draw.random(len(rows.ids)) < 0.5).reshape(5000, 22)
    starts[:, [0, 1, 21]] = True
    starts[:, 5::4] = True
    return TokenRows(rows.ids, rows.offsets, rows.keys, rows.vocabulary, marks=starts.ravel().astype(np.uint8) * WORD)


def chosen_of(masking: Masking, rows: TokenRows, **settings: Any) -> np.ndarray:
    chosen: np.ndarray = masking.draw(rows, seed=3, **settings)[1] != IGNORED
    return chosen


def within_chance(share: float, expected: float, draws: float) -> bool:
    return abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws)


@pytest.mark.parametrize("masking", [WholeWordMasking(), SpanMasking(), SpanMasking(rate=0.4, stop=0.5, longest=3)])
def test_words_are_chosen_whole_at_the_rate_and_replaced_as_bert_does(masking: Masking, pieces: TokenRows) -> None:
    seen, labels = masking.draw(pieces, seed=3)
    chosen, words = labels != IGNORED, pieces.word_firsts
    assert np.array_equal(chosen, chosen[words])
    ordinary = ~VOCABULARY.is_special[pieces.ids]
    assert not chosen[~ordinary].any()
    assert within_chance(chosen[ordinary].mean(), masking.rate, WORDS / 12)  # neighbours are chosen together
    fates = [(seen[chosen] == 4).mean(), (seen[chosen] == pieces.ids[chosen]).mean()]
    assert fates == pytest.approx([0.8, 0.1], abs=0.015)


def test_words_of_one_token_are_masked_as_tokens_are() -> None:
    rows = rows_of(500, 20)
    assert np.array_equal(WholeWordMasking().draw(rows, 1)[1], Masking().draw(rows, 1)[1])


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 1.0])
def test_a_span_covers_every_place_of_a_row_alike(rate: float) -> None:
    rows = rows_of(10_000, 10)
    shares = chosen_of(SpanMasking(rate=rate), rows).reshape(-1, 12)[:, 1:-1].mean(0)
    assert all(within_chance(share, rate, 10_000) for share in shares)


def test_the_lengths_of_spans_are_those_of_the_rule() -> None:
    """Where spans are rare they seldom overlap, so runs of chosen words are spans."""
    rows = rows_of(1000, 300)
    chosen = chosen_of(SpanMasking(rate=0.01, stop=0.2, longest=10), rows).reshape(1000, 302)[:, 1:-1]
    runs = [
        sum(1 for _ in run) for row in chosen[:, 20:-20] for inside, run in itertools.groupby(row.tolist()) if inside
    ]
    weights = 0.8 ** np.arange(10)
    expected = (weights * np.arange(1, 11)).sum() / weights.sum()
    assert expected == pytest.approx(3.8, abs=0.01)
    assert np.mean(runs) == pytest.approx(expected, rel=0.07)
    counts = np.bincount(runs, minlength=12)
    assert counts[1] / len(runs) == pytest.approx(1 / weights.sum(), abs=0.05)
    assert counts[11:].sum() < 0.03 * len(runs)


def test_the_rate_moves_in_a_straight_line_over_the_budget() -> None:
    rows, masking = rows_of(5000, 20), Masking(rate=0.3, final_rate=0.15)
    for progress, rate in ((0.0, 0.3), (0.5, 0.225), (1.0, 0.15)):
        shares = chosen_of(masking, rows, progress=progress).sum() / WORDS
        assert within_chance(shares, rate, WORDS)
    assert chosen_of(masking, rows, progress=1.0).sum() == chosen_of(Masking(), rows).sum()


def test_listed_words_are_chosen_at_one_rate_and_others_at_another(table: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = tokenize(table, tokenizer, 64, tmp_path)
    masking = ChosenWordMasking(words=["durable", "Running Shoes"], rate=0.5, other_rate=0.1).for_tokenizer(tokenizer)
    chosen = [masking.draw(rows, 3, epoch)[1] != IGNORED for epoch in range(40)]
    share = np.mean(chosen, axis=0)
    texts = table["text"].to_pylist()
    for name, expected in (("durable", 0.5), ("running", 0.5), ("shoes", None), ("hats", 0.1)):
        (token,) = tokenizer(name, add_special_tokens=False)["input_ids"]
        at = np.flatnonzero(rows.ids == token)
        if expected is not None:
            assert share[at].mean() == pytest.approx(expected, abs=0.03), name
        else:  # listed only behind "running"
            row = np.searchsorted(rows.offsets, at, side="right") - 1
            listed = np.array(["running shoes" in texts[i] for i in row])
            assert share[at[listed]].mean() == pytest.approx(0.5, abs=0.03)
            assert share[at[~listed]].mean() == pytest.approx(0.1, abs=0.03)
    both = np.array(chosen)[:, np.flatnonzero(rows.ids == tokenizer("running")["input_ids"][1])]
    after = np.array(chosen)[:, np.flatnonzero(rows.ids == tokenizer("running")["input_ids"][1]) + 1]
    assert np.array_equal(both, after)  # an expression is chosen as one


def test_nothing_is_chosen_where_no_listed_word_stands(table: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = tokenize(table, tokenizer, 64, tmp_path)
    masking = ChosenWordMasking(words=["run"]).for_tokenizer(tokenizer)  # part of a word, and no word
    assert not chosen_of(masking, rows).any()


def test_words_come_from_a_file_too(table: Any, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("# a lexicon\ndurable\t1.9\nugly\t-2.3\n")
    rows = tokenize(table, tokenizer, 64, tmp_path)
    masking = ChosenWordMasking(file=tmp_path / "words.txt").for_tokenizer(tokenizer)
    found = {tokenizer.decode([token]) for token in rows.ids[chosen_of(masking, rows)]}
    assert found == {"durable", "ugly"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, "words: There is no word to mask"), ({"file": "nowhere.txt"}, "file: The word list nowhere.txt cannot")],
)
def test_a_list_without_words_is_refused(settings: Any, told: str, tokenizer: Any) -> None:
    with pytest.raises(WinnowError, match=told):
        ChosenWordMasking(**settings).for_tokenizer(tokenizer)


def test_words_of_another_alphabet_are_refused(tokenizer: Any) -> None:
    with pytest.raises(WinnowError, match="words: The tokenizer knows none of the 1 words"):
        ChosenWordMasking(words=["прочный"]).for_tokenizer(tokenizer)


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer as RoBERTa has one, which knows few whole words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(["shoes are heavy", "heavy shoes"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, mask_token="<mask>", pad_token="<pad>", unk_token="<unk>", model_max_length=64
    )


def test_words_of_a_byte_level_tokenizer_are_neither_the_sentence_nor_joined_with_a_stop(
    byte_level: Any, make_table: Any, tmp_path: Path
) -> None:
    rows = tokenize(make_table(["these shoes are heavy."]), byte_level, 64, tmp_path)
    starts = np.flatnonzero(rows.word_starts)
    words = [byte_level.decode(part) for part in np.split(rows.ids, starts[1:])]
    assert words == ["these", " shoes", " are", " heavy", "."]
    masking = ChosenWordMasking(words=["heavy"]).for_tokenizer(byte_level)
    assert byte_level.decode(rows.ids[chosen_of(masking, rows)]) == " heavy"


@pytest.mark.parametrize(
    "masking",
    [WholeWordMasking(), SpanMasking(), Masking(rate=0.3, final_rate=0.1)],
    ids=lambda one: type(one).__name__,
)
def test_masks_depend_on_seed_epoch_and_row_alone(masking: Masking, pieces: TokenRows) -> None:
    some = np.array([17, 3, 4000])
    labels = masking.draw(pieces, 5, 2)[1].reshape(-1, 22)
    assert np.array_equal(masking.draw(pieces.take(some), 5, 2)[1].reshape(-1, 22), labels[some])
    assert not np.array_equal(masking.draw(pieces, 6, 2)[1].reshape(-1, 22), labels)
    assert not np.array_equal(masking.draw(pieces, 5, 3)[1].reshape(-1, 22), labels)
