import itertools

import numpy as np
import pytest

from winnow.errors import WinnowError
from winnow.training import Masking, Shard, TokenRows, TrainingBatches

from .test_masking import VOCABULARY


@pytest.fixture(scope="module")
def uneven_rows() -> TokenRows:
    """3,000 rows of 3 to 60 tokens."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 61, 3000)
    ids = draw.integers(5, 1000, lengths.sum()).astype(np.int32)
    return TokenRows(ids, np.append(0, lengths.cumsum()), draw.integers(0, 2**64, 3000, dtype=np.uint64), VOCABULARY)


def build_batches(rows: TokenRows, seed: int = 1, shard: Shard | None = None) -> TrainingBatches:
    return TrainingBatches(rows, Masking(), seed, 8, 1000, shard or Shard(), max_tokens=600)


def test_each_epoch_contains_every_row_once_and_no_step_exceeds_the_budget(uneven_rows: TokenRows) -> None:
    batches = build_batches(uneven_rows)
    assert batches.token_budget is not None
    steps = batches.token_budget.count_steps(0)
    assert steps == pytest.approx(len(uneven_rows.ids) / 600, rel=0.06)
    step_rows = [batches.select_rows(step)[0] for step in range(steps)]
    assert sorted(itertools.chain.from_iterable(map(np.ndarray.tolist, step_rows))) == list(range(3000))
    assert max(uneven_rows.lengths[rows].sum() for rows in step_rows) <= 600
    assert batches.select_rows(steps)[1].tolist() == [1] * len(batches.select_rows(steps)[0])
    assert batches.select_rows(steps)[0].tolist() != step_rows[0].tolist()


def test_rows_of_a_step_have_similar_lengths_and_steps_are_shuffled(uneven_rows: TokenRows) -> None:
    batches = build_batches(uneven_rows)
    spreads, means = [], []
    for step in range(80):
        lengths = uneven_rows.lengths[batches.select_rows(step)[0]]
        spreads.append(lengths.max() - lengths.min())
        means.append(lengths.mean())
    assert np.median(spreads) <= 3
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.4


def test_a_step_is_a_function_of_its_index_and_the_seed(uneven_rows: TokenRows) -> None:
    first, second = build_batches(uneven_rows), build_batches(uneven_rows)
    expected = second.select_rows(300)[0].tolist()  # in the second epoch, without the steps before it
    for step in range(300):
        first.select_rows(step)
    assert first.select_rows(300)[0].tolist() == expected
    assert build_batches(uneven_rows, seed=2).select_rows(300)[0].tolist() != expected


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 4), (2, 2)])
def test_the_shards_of_a_step_contain_the_rows_of_a_single_process(
    uneven_rows: TokenRows, world_size: int, accumulate: int
) -> None:
    unsharded = build_batches(uneven_rows)
    assert unsharded.token_budget is not None
    shards = [build_batches(uneven_rows, shard=Shard(rank, world_size, accumulate)) for rank in range(world_size)]
    last = unsharded.token_budget.count_steps(0) - 1
    for step in [0, 7, last]:
        batches = [
            shard.select_rows(step * accumulate + i)[0] for i, shard in itertools.product(range(accumulate), shards)
        ]
        assert min(map(len, batches)) >= 1
        assert sorted(np.concatenate(batches).tolist()) == sorted(shards[0].token_budget.select_rows(step)[0].tolist())
        if len(unsharded.select_rows(step)[0]) >= 2 * world_size * accumulate:
            assert np.ptp([uneven_rows.lengths[rows].mean() for rows in batches]) < 3


def test_a_last_step_with_too_few_rows_takes_rows_of_the_previous_step() -> None:
    rows = TokenRows(np.full(27, 7, dtype=np.int32), np.arange(0, 28, 3), np.arange(9, dtype=np.uint64), VOCABULARY)
    batches = TrainingBatches(rows, Masking(), 1, 8, 10, Shard(0, 2), max_tokens=12)
    assert batches.token_budget is not None
    sizes = sorted(len(batches.token_budget.select_rows(step)[0]) for step in range(3))
    assert sizes == [2, 3, 4]


def test_a_budget_below_the_longest_row_is_an_error_with_the_minimum(uneven_rows: TokenRows) -> None:
    with pytest.raises(WinnowError, match=r"training\.max_tokens: .*up to 60 tokens.*at least 60"):
        TrainingBatches(uneven_rows, Masking(), 1, 8, 10, max_tokens=59)
    with pytest.raises(WinnowError, match=r"training\.max_tokens: .*with 4 batches.*at least 480"):
        TrainingBatches(uneven_rows, Masking(), 1, 8, 10, Shard(0, 2, 2), max_tokens=479)
