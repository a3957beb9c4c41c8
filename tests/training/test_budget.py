import itertools

import numpy as np
import pytest

from winnow.errors import WinnowError
from winnow.training import Masking, Share, TokenRows, TrainingBatches

from .test_masking import VOCABULARY


@pytest.fixture(scope="module")
def uneven() -> TokenRows:
    """3,000 rows of 3 to 60 tokens."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 61, 3000)
    ids = draw.integers(5, 1000, lengths.sum()).astype(np.int32)
    return TokenRows(ids, np.append(0, lengths.cumsum()), draw.integers(0, 2**64, 3000, dtype=np.uint64), VOCABULARY)


def batches_of(rows: TokenRows, seed: int = 1, share: Share | None = None) -> TrainingBatches:
    return TrainingBatches(rows, Masking(), seed, 8, 1000, share or Share(), max_tokens=600)


def test_each_pass_holds_every_row_once_and_no_step_is_over_the_budget(uneven: TokenRows) -> None:
    batches = batches_of(uneven)
    assert batches.budget is not None
    steps = batches.budget.steps_in_pass(0)
    assert steps == pytest.approx(len(uneven.ids) / 600, rel=0.06)
    seen = [batches.draw(step)[0] for step in range(steps)]
    assert sorted(itertools.chain.from_iterable(map(np.ndarray.tolist, seen))) == list(range(3000))
    assert max(uneven.lengths[rows].sum() for rows in seen) <= 600
    assert batches.draw(steps)[1].tolist() == [1] * len(batches.draw(steps)[0])
    assert batches.draw(steps)[0].tolist() != seen[0].tolist()


def test_rows_of_a_step_are_alike_in_length_and_steps_come_in_no_order_of_length(uneven: TokenRows) -> None:
    batches = batches_of(uneven)
    spreads, means = [], []
    for step in range(80):
        lengths = uneven.lengths[batches.draw(step)[0]]
        spreads.append(lengths.max() - lengths.min())
        means.append(lengths.mean())
    assert np.median(spreads) <= 3
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.4


def test_a_step_is_a_function_of_its_number_and_the_seed(uneven: TokenRows) -> None:
    one, other = batches_of(uneven), batches_of(uneven)
    later = other.draw(300)[0].tolist()  # of the second pass, without the steps before
    for step in range(300):
        one.draw(step)
    assert one.draw(300)[0].tolist() == later
    assert batches_of(uneven, seed=2).draw(300)[0].tolist() != later


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 4), (2, 2)])
def test_all_processes_together_see_the_rows_that_one_would(
    uneven: TokenRows, world_size: int, accumulate: int
) -> None:
    alone = batches_of(uneven)
    assert alone.budget is not None
    shares = [batches_of(uneven, share=Share(rank, world_size, accumulate)) for rank in range(world_size)]
    last = alone.budget.steps_in_pass(0) - 1
    for step in [0, 7, last]:
        parts = [
            share.draw(step * accumulate + part)[0] for part, share in itertools.product(range(accumulate), shares)
        ]
        assert min(map(len, parts)) >= 1
        assert sorted(np.concatenate(parts).tolist()) == sorted(shares[0].budget.draw(step)[0].tolist())
        if len(alone.draw(step)[0]) >= 2 * world_size * accumulate:
            assert np.ptp([uneven.lengths[part].mean() for part in parts]) < 3


def test_a_last_step_with_fewer_rows_than_processes_takes_some_of_the_one_before() -> None:
    rows = TokenRows(np.full(27, 7, dtype=np.int32), np.arange(0, 28, 3), np.arange(9, dtype=np.uint64), VOCABULARY)
    batches = TrainingBatches(rows, Masking(), 1, 8, 10, Share(0, 2), max_tokens=12)
    assert batches.budget is not None
    sizes = sorted(len(batches.budget.draw(step)[0]) for step in range(3))
    assert sizes == [2, 3, 4]


def test_a_row_that_does_not_fit_is_told_with_what_would(uneven: TokenRows) -> None:
    with pytest.raises(WinnowError, match=r"training\.max_tokens: .*up to 60 tokens.*at least 60"):
        TrainingBatches(uneven, Masking(), 1, 8, 10, max_tokens=59)
    with pytest.raises(WinnowError, match=r"training\.max_tokens: .*in 4 parts.*at least 480"):
        TrainingBatches(uneven, Masking(), 1, 8, 10, Share(0, 2, 2), max_tokens=479)
