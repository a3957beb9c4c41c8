"""The selection rules of each masking, checked on 100,000 tokens."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from winnow.errors import WinnowError
from winnow.training import ListedWordMasking, Masking, SpanMasking, TokenRows, WholeWordMasking, tokenize
from winnow.training.masking import IGNORE_INDEX
from winnow.training.tokenization import WORD_START

from .test_masking import VOCABULARY, rows_of

WORDS = 100_000


@pytest.fixture(scope="module")
def multi_token_words() -> TokenRows:
    """Return 5,000 rows of 20 tokens plus separators, in words of 1 to 4 tokens."""
    rows = rows_of(5000, 20)
    draw = np.random.default_rng(1)
    starts = (draw.random(len(rows.ids)) < 0.5).reshape(5000, 22)
    starts[:, [0, 1, 21]] = True
    starts[:, 5::4] = True
    return TokenRows(
        rows.ids, rows.offsets, rows.keys, rows.vocabulary, boundaries=starts.ravel().astype(np.uint8) * WORD_START
    )


def select(masking: Masking, rows: TokenRows, **settings: Any) -> np.ndarray:
    selected: np.ndarray = masking.apply(rows, seed=3, **settings)[1] != IGNORE_INDEX
    return selected


def is_near(rate: float, expected: float, draws: float) -> bool:
    return abs(rate - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws)


@pytest.mark.parametrize("masking", [WholeWordMasking(), SpanMasking(), SpanMasking(rate=0.4, stop=0.5, longest=3)])
def test_whole_words_are_selected_at_the_rate_and_replaced_like_in_bert(
    masking: Masking, multi_token_words: TokenRows
) -> None:
    input_ids, labels = masking.apply(multi_token_words, seed=3)
    selected, words = labels != IGNORE_INDEX, multi_token_words.word_start_indices
    assert np.array_equal(selected, selected[words])
    is_regular = ~VOCABULARY.is_special[multi_token_words.ids]
    assert not selected[~is_regular].any()
    assert is_near(selected[is_regular].mean(), masking.rate, WORDS / 12)  # neighbors are correlated
    is_masked = input_ids[selected] == 4
    is_unchanged = input_ids[selected] == multi_token_words.ids[selected]
    assert [is_masked.mean(), is_unchanged.mean()] == pytest.approx([0.8, 0.1], abs=0.015)


def test_single_token_words_have_the_same_masks_as_tokens() -> None:
    rows = rows_of(500, 20)
    assert np.array_equal(WholeWordMasking().apply(rows, 1)[1], Masking().apply(rows, 1)[1])


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 1.0])
def test_spans_cover_every_position_of_a_row_equally_often(rate: float) -> None:
    rows = rows_of(10_000, 10)
    rates = select(SpanMasking(rate=rate), rows).reshape(-1, 12)[:, 1:-1].mean(0)
    assert all(is_near(position_rate, rate, 10_000) for position_rate in rates)


def test_span_lengths_follow_the_rule() -> None:
    """At a low rate spans rarely overlap, so runs of selected words are spans."""
    rows = rows_of(1000, 300)
    selected = select(SpanMasking(rate=0.01, stop=0.2, longest=10), rows).reshape(1000, 302)[:, 1:-1]
    runs = [
        sum(1 for _ in run) for row in selected[:, 20:-20] for inside, run in itertools.groupby(row.tolist()) if inside
    ]
    weights = 0.8 ** np.arange(10)
    expected = (weights * np.arange(1, 11)).sum() / weights.sum()
    assert expected == pytest.approx(3.8, abs=0.01)
    assert np.mean(runs) == pytest.approx(expected, rel=0.07)
    counts = np.bincount(runs, minlength=12)
    assert counts[1] / len(runs) == pytest.approx(1 / weights.sum(), abs=0.05)
    assert counts[11:].sum() < 0.03 * len(runs)


def test_the_rate_changes_linearly_over_the_budget() -> None:
    rows, masking = rows_of(5000, 20), Masking(rate=0.3, final_rate=0.15)
    for progress, rate in ((0.0, 0.3), (0.5, 0.225), (1.0, 0.15)):
        observed = select(masking, rows, progress=progress).sum() / WORDS
        assert is_near(observed, rate, WORDS)
    assert select(masking, rows, progress=1.0).sum() == select(Masking(), rows).sum()


def test_listed_words_and_other_words_have_separate_rates(table: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = tokenize(table, tokenizer, 64, tmp_path)
    masking = ListedWordMasking(words=["durable", "Running Shoes"], rate=0.5, other_rate=0.1).for_tokenizer(tokenizer)
    selected = [masking.apply(rows, 3, epoch)[1] != IGNORE_INDEX for epoch in range(40)]
    rates = np.mean(selected, axis=0)
    texts = table["text"].to_pylist()
    for name, expected in (("durable", 0.5), ("running", 0.5), ("shoes", None), ("hats", 0.1)):
        (token,) = tokenizer(name, add_special_tokens=False)["input_ids"]
        indices = np.flatnonzero(rows.ids == token)
        if expected is not None:
            assert rates[indices].mean() == pytest.approx(expected, abs=0.03), name
        else:  # listed only after "running"
            token_rows = np.searchsorted(rows.offsets, indices, side="right") - 1
            is_listed = np.array(["running shoes" in texts[i] for i in token_rows])
            assert rates[indices[is_listed]].mean() == pytest.approx(0.5, abs=0.03)
            assert rates[indices[~is_listed]].mean() == pytest.approx(0.1, abs=0.03)
    running = np.flatnonzero(rows.ids == tokenizer("running")["input_ids"][1])
    # The words of an expression are selected together.
    assert np.array_equal(np.array(selected)[:, running], np.array(selected)[:, running + 1])


def test_no_token_is_selected_without_a_listed_word(table: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = tokenize(table, tokenizer, 64, tmp_path)
    masking = ListedWordMasking(words=["run"]).for_tokenizer(tokenizer)  # the texts contain "running", but not "run"
    assert not select(masking, rows).any()


def test_words_are_read_from_a_file(table: Any, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("# a lexicon\ndurable\t1.9\nugly\t-2.3\n")
    rows = tokenize(table, tokenizer, 64, tmp_path)
    masking = ListedWordMasking(file=tmp_path / "words.txt").for_tokenizer(tokenizer)
    selected_words = {tokenizer.decode([token]) for token in rows.ids[select(masking, rows)]}
    assert selected_words == {"durable", "ugly"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "words: expected at least one word, got none"),
        ({"file": "nowhere.txt"}, "file: the word list nowhere.txt cannot be read"),
    ],
)
def test_a_list_without_words_is_an_error(settings: Any, message: str, tokenizer: Any) -> None:
    with pytest.raises(WinnowError, match=message):
        ListedWordMasking(**settings).for_tokenizer(tokenizer)


def test_words_unknown_to_the_tokenizer_are_an_error(tokenizer: Any) -> None:
    with pytest.raises(WinnowError, match="words: each of the 1 words contains tokens unknown"):
        ListedWordMasking(words=["прочный"]).for_tokenizer(tokenizer)


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer like RoBERTa's, with few whole words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["shoes are heavy", "heavy shoes"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="<mask>", pad_token="<pad>", unk_token="<unk>", model_max_length=64
    )


def test_words_of_a_byte_level_tokenizer_are_split_at_spaces_and_punctuation(
    byte_level: Any, make_table: Any, tmp_path: Path
) -> None:
    rows = tokenize(make_table(["these shoes are heavy."]), byte_level, 64, tmp_path)
    starts = np.flatnonzero(rows.word_starts)
    words = [byte_level.decode(word) for word in np.split(rows.ids, starts[1:])]
    assert words == ["these", " shoes", " are", " heavy", "."]
    masking = ListedWordMasking(words=["heavy"]).for_tokenizer(byte_level)
    assert byte_level.decode(rows.ids[select(masking, rows)]) == " heavy"


@pytest.mark.parametrize(
    "masking",
    [WholeWordMasking(), SpanMasking(), Masking(rate=0.3, final_rate=0.1)],
    ids=lambda masking: type(masking).__name__,
)
def test_masks_depend_only_on_seed_epoch_and_row(masking: Masking, multi_token_words: TokenRows) -> None:
    subset = np.array([17, 3, 4000])
    labels = masking.apply(multi_token_words, 5, 2)[1].reshape(-1, 22)
    assert np.array_equal(masking.apply(multi_token_words.take(subset), 5, 2)[1].reshape(-1, 22), labels[subset])
    assert not np.array_equal(masking.apply(multi_token_words, 6, 2)[1].reshape(-1, 22), labels)
    assert not np.array_equal(masking.apply(multi_token_words, 5, 3)[1].reshape(-1, 22), labels)
