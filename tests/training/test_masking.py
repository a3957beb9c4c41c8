from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from winnow.errors import WinnowError
from winnow.training import Masking, TokenRows, Vocabulary
from winnow.training.masking import IGNORED

SPECIAL = (0, 1, 2, 3, 4)
VOCABULARY = Vocabulary(size=1000, mask_id=4, pad_id=0, special=SPECIAL, longest=512, fingerprint="00000000000000ab")


def rows_of(count: int, length: int, vocabulary: Vocabulary = VOCABULARY, seed: int = 0) -> TokenRows:
    """Rows of [CLS], words and [SEP]; ``length`` counts the words."""
    generator = np.random.default_rng(seed)
    words = generator.integers(5, 1000, size=(count, length))
    ids = np.concatenate([np.full((count, 1), 2), words, np.full((count, 1), 3)], axis=1).astype(np.int32)
    keys = generator.integers(0, 2**64, size=count, dtype=np.uint64)
    return TokenRows(ids.ravel(), np.arange(count + 1) * (length + 2), keys, vocabulary)


def test_a_hundred_thousand_tokens_follow_the_rule() -> None:
    rows = rows_of(5000, 20)
    seen, labels = Masking().draw(rows, seed=1)
    chosen = labels != IGNORED
    words = 100_000
    deviation = np.sqrt(words * 0.15 * 0.85)
    assert abs(chosen.sum() - 0.15 * words) < 4 * deviation
    assert not chosen[np.isin(rows.ids, SPECIAL)].any()
    assert np.array_equal(labels[chosen], rows.ids[chosen])
    assert np.array_equal(seen[~chosen], rows.ids[~chosen])

    count = chosen.sum()
    hidden = seen[chosen] == 4
    kept = seen[chosen] == rows.ids[chosen]
    # A random token is the right one once in 995 times.
    for share, expected in ((hidden.mean(), 0.8), (kept.mean(), 0.1 + 0.1 / 995), ((~hidden & ~kept).mean(), 0.1)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count)
    replaced = seen[chosen][~hidden & ~kept]
    assert replaced.min() >= 5
    assert replaced.max() > 950
    assert len(np.unique(replaced)) > 600


def test_every_position_of_a_row_has_the_same_chance() -> None:
    rows = rows_of(20_000, 10)
    chosen = (Masking().draw(rows, seed=3)[1] != IGNORED).reshape(-1, 12)[:, 1:-1]
    shares = chosen.mean(axis=0)
    assert np.abs(shares - 0.15).max() < 4 * np.sqrt(0.15 * 0.85 / 20_000)
    # Neighbours are chosen independently: pairs as often as chance has it.
    pairs = (chosen[:, :-1] & chosen[:, 1:]).mean()
    assert abs(pairs - 0.15**2) < 0.002


def test_masks_change_with_seed_epoch_and_tokenizer() -> None:
    rows = rows_of(200, 20)
    other = TokenRows(rows.ids, rows.offsets, rows.keys, Vocabulary(1000, 4, 0, SPECIAL, 512, "00000000000000ac"))
    draws = [Masking().draw(rows, 1), Masking().draw(rows, 2), Masking().draw(rows, 1, 1), Masking().draw(other, 1)]
    labels = [tuple(draw[1].tolist()) for draw in draws]
    assert len(set(labels)) == 4
    assert tuple(Masking().draw(rows, 1)[1].tolist()) == labels[0]


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 2**63), st.integers(0, 1000))
def test_the_mask_of_a_row_does_not_depend_on_its_company(order: list[int], seed: int, epoch: int) -> None:
    rows = rows_of(12, 6)
    seen, labels = (part.reshape(12, 8) for part in Masking().draw(rows, seed, epoch))
    some = np.array(order[:5])
    alone = Masking().draw(rows.take(some), seed, epoch)
    assert np.array_equal(alone[0].reshape(5, 8), seen[some])
    assert np.array_equal(alone[1].reshape(5, 8), labels[some])


def test_each_row_may_have_an_epoch_of_its_own() -> None:
    rows = rows_of(3, 30)
    mixed = Masking().draw(rows, 1, np.array([0, 7, 0]))[1].reshape(3, 32)
    assert np.array_equal(mixed[1], Masking().draw(rows, 1, 7)[1].reshape(3, 32)[1])
    assert np.array_equal(mixed[2], Masking().draw(rows, 1, 0)[1].reshape(3, 32)[2])


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(ValidationError, match="rate"):
        Masking(rate=rate)


def test_shares_over_the_whole_are_refused() -> None:
    with pytest.raises(WinnowError, match=r"random_share: .*at most 1"):
        Masking(mask_share=0.9, random_share=0.2)


def test_rate_one_asks_for_every_word(rows: TokenRows) -> None:
    labels: Any = Masking(rate=1.0).draw(rows, 0)[1]
    assert ((labels == IGNORED) == rows.vocabulary.is_special[rows.ids]).all()


def test_the_rows_themselves_stay_as_they_are(rows: TokenRows) -> None:
    before = rows.ids.copy()
    Masking(rate=1.0).draw(rows, 0)
    assert np.array_equal(rows.ids, before)
