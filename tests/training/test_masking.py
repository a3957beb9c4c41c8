from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from winnow.errors import WinnowError
from winnow.training import Masking, TokenRows, Vocabulary
from winnow.training.masking import IGNORE_INDEX

SPECIAL = (0, 1, 2, 3, 4)
VOCABULARY = Vocabulary(
    size=1000, mask_id=4, pad_id=0, special_ids=SPECIAL, max_length=512, fingerprint="00000000000000ab"
)


def rows_of(count: int, length: int, vocabulary: Vocabulary = VOCABULARY, seed: int = 0) -> TokenRows:
    """Return rows of [CLS], `length` random words and [SEP]."""
    generator = np.random.default_rng(seed)
    words = generator.integers(5, 1000, size=(count, length))
    ids = np.concatenate([np.full((count, 1), 2), words, np.full((count, 1), 3)], axis=1).astype(np.int32)
    keys = generator.integers(0, 2**64, size=count, dtype=np.uint64)
    return TokenRows(ids.ravel(), np.arange(count + 1) * (length + 2), keys, vocabulary)


def test_100_000_tokens_follow_berts_rule() -> None:
    rows = rows_of(5000, 20)
    input_ids, labels = Masking().apply(rows, seed=1)
    selected = labels != IGNORE_INDEX
    words = 100_000
    deviation = np.sqrt(words * 0.15 * 0.85)
    assert abs(selected.sum() - 0.15 * words) < 4 * deviation
    assert not selected[np.isin(rows.ids, SPECIAL)].any()
    assert np.array_equal(labels[selected], rows.ids[selected])
    assert np.array_equal(input_ids[~selected], rows.ids[~selected])

    count = selected.sum()
    is_masked = input_ids[selected] == 4
    is_unchanged = input_ids[selected] == rows.ids[selected]
    is_random = ~is_masked & ~is_unchanged
    # A random token equals the original with probability 1/995.
    for flags, expected in ((is_masked, 0.8), (is_unchanged, 0.1 + 0.1 / 995), (is_random, 0.1)):
        assert abs(flags.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / count)
    random_tokens = input_ids[selected][is_random]
    assert random_tokens.min() >= 5
    assert random_tokens.max() > 950
    assert len(np.unique(random_tokens)) > 600


def test_every_position_of_a_row_has_the_same_probability() -> None:
    rows = rows_of(20_000, 10)
    selected = (Masking().apply(rows, seed=3)[1] != IGNORE_INDEX).reshape(-1, 12)[:, 1:-1]
    rates = selected.mean(axis=0)
    assert np.abs(rates - 0.15).max() < 4 * np.sqrt(0.15 * 0.85 / 20_000)
    # Neighboring tokens are selected independently.
    pairs = (selected[:, :-1] & selected[:, 1:]).mean()
    assert abs(pairs - 0.15**2) < 0.002


def test_masks_change_with_seed_epoch_and_tokenizer() -> None:
    rows = rows_of(200, 20)
    other = TokenRows(rows.ids, rows.offsets, rows.keys, Vocabulary(1000, 4, 0, SPECIAL, 512, "00000000000000ac"))
    draws = [
        Masking().apply(rows, 1),
        Masking().apply(rows, 2),
        Masking().apply(rows, 1, 1),
        Masking().apply(other, 1),
    ]
    labels = [tuple(draw[1].tolist()) for draw in draws]
    assert len(set(labels)) == 4
    assert tuple(Masking().apply(rows, 1)[1].tolist()) == labels[0]


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 2**63), st.integers(0, 1000))
def test_the_mask_of_a_row_does_not_depend_on_other_rows(order: list[int], seed: int, epoch: int) -> None:
    rows = rows_of(12, 6)
    input_ids, labels = (tokens.reshape(12, 8) for tokens in Masking().apply(rows, seed, epoch))
    subset = np.array(order[:5])
    subset_ids, subset_labels = Masking().apply(rows.take(subset), seed, epoch)
    assert np.array_equal(subset_ids.reshape(5, 8), input_ids[subset])
    assert np.array_equal(subset_labels.reshape(5, 8), labels[subset])


def test_each_row_can_have_its_own_epoch() -> None:
    rows = rows_of(3, 30)
    mixed = Masking().apply(rows, 1, np.array([0, 7, 0]))[1].reshape(3, 32)
    assert np.array_equal(mixed[1], Masking().apply(rows, 1, 7)[1].reshape(3, 32)[1])
    assert np.array_equal(mixed[2], Masking().apply(rows, 1, 0)[1].reshape(3, 32)[2])


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5])
def test_a_rate_outside_its_range_is_an_error(rate: float) -> None:
    with pytest.raises(ValidationError, match="rate"):
        Masking(rate=rate)


def test_fractions_with_a_sum_above_1_are_an_error() -> None:
    with pytest.raises(WinnowError, match=r"random_share: .*at most 1"):
        Masking(mask_share=0.9, random_share=0.2)


def test_rate_1_masks_every_regular_token(rows: TokenRows) -> None:
    labels: Any = Masking(rate=1.0).apply(rows, 0)[1]
    assert ((labels == IGNORE_INDEX) == rows.vocabulary.is_special[rows.ids]).all()


def test_masking_does_not_modify_the_rows(rows: TokenRows) -> None:
    before = rows.ids.copy()
    Masking(rate=1.0).apply(rows, 0)
    assert np.array_equal(rows.ids, before)
