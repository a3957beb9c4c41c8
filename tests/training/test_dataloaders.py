import itertools

import numpy as np
import pytest
import torch

from winnow.errors import WinnowError
from winnow.training import HeldOutBatches, Masking, Shard, TokenRows, TrainingBatches


def read_stream(batches: TrainingBatches, numbers: range) -> list[int]:
    return [int(row) for number in numbers for row in batches.select_rows(number)[0]]


def test_every_epoch_contains_every_row_once_in_a_different_order(rows: TokenRows) -> None:
    few = rows.take(np.arange(100))
    batches = TrainingBatches(few, Masking(), seed=1, batch_size=10, steps=20)
    first, second = read_stream(batches, range(10)), read_stream(batches, range(10, 20))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert read_stream(TrainingBatches(few, Masking(), 2, 10, 20), range(10)) != first


def test_the_last_step_of_an_epoch_is_filled_from_the_next_epoch(rows: TokenRows) -> None:
    few = rows.take(np.arange(7))
    batches = TrainingBatches(few, Masking(), seed=1, batch_size=3, steps=14)
    stream = read_stream(batches, range(14))
    assert len(stream) == 42
    for epoch in range(6):
        assert sorted(stream[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert batches.select_rows(2)[1].tolist() == [0, 1, 1]


def test_repeated_rows_of_a_batch_have_different_masks(rows: TokenRows) -> None:
    batches = TrainingBatches(rows.take(np.arange(4)), Masking(rate=0.5), seed=1, batch_size=8, steps=1)
    row_indices, epochs = batches.select_rows(0)
    assert sorted(row_indices.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert epochs.tolist() == [0] * 4 + [1] * 4
    batch = batches[0]
    masks = [batch.position_ids[batch.masked_indices[batch.masked_rows == row]].tolist() for row in range(8)]
    pairs = [np.flatnonzero(row_indices == row) for row in range(4)]
    assert any(masks[first] != masks[second] for first, second in pairs)


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 4), (2, 1), (3, 2), (5, 1)])
def test_the_shards_of_a_step_contain_the_rows_of_a_single_process(
    rows: TokenRows, world_size: int, accumulate: int
) -> None:
    unsharded = TrainingBatches(rows, Masking(), 1, 32, steps=3)
    shards = [
        TrainingBatches(rows, Masking(), 1, 32, 3, Shard(rank, world_size, accumulate)) for rank in range(world_size)
    ]
    for step in range(3):
        batches = [
            shard.select_rows(step * accumulate + i)[0].tolist()
            for i, shard in itertools.product(range(accumulate), shards)
        ]
        assert min(map(len, batches)) >= 1
        assert sorted(itertools.chain(*batches)) == sorted(unsharded.select_rows(step)[0].tolist())
    assert {len(shard) for shard in shards} == {3 * accumulate}


def test_the_shuffled_order_does_not_depend_on_the_input_order(rows: TokenRows) -> None:
    few = rows.take(np.arange(50))
    reversed_rows = rows.take(np.arange(50)[::-1])
    first, second = (TrainingBatches(ordered, Masking(), 1, 10, 5) for ordered in (few, reversed_rows))
    assert few.keys[first.select_rows(3)[0]].tolist() == reversed_rows.keys[second.select_rows(3)[0]].tolist()


def test_rows_are_sorted_by_length_and_no_token_is_lost(rows: TokenRows) -> None:
    batches = TrainingBatches(rows, Masking(rate=0.9), 1, 16, 1)  # a high rate, so that every row has a masked token
    row_indices, _ = batches.select_rows(0)
    batch = batches[0]
    lengths = sorted(rows.lengths[row_indices].tolist())
    assert [length for count, length in batch.length_groups for _ in range(count)] == lengths
    assert len({length for _, length in batch.length_groups}) == len(batch.length_groups) > 2
    assert batch.position_ids.tolist() == [position for length in lengths for position in range(length)]
    restored = batch.input_ids.clone()
    restored[batch.masked_indices] = batch.targets
    batch_rows = {tuple(row.tolist()) for row in restored.split(lengths)}
    assert batch_rows == {tuple(rows.ids[rows.offsets[row] : rows.offsets[row + 1]]) for row in row_indices}


def test_a_stream_resumes_from_its_state(rows: TokenRows) -> None:
    expected = [batch.input_ids for batch in TrainingBatches(rows, Masking(), 1, 16, 6)]
    interrupted = TrainingBatches(rows, Masking(), 1, 16, 6)
    for _ in zip(range(4), interrupted, strict=False):
        pass
    resumed = TrainingBatches(rows, Masking(), 1, 16, 6)
    resumed.load_state_dict({"next": 4})
    remaining = list(resumed)
    assert len(remaining) == 2
    assert torch.equal(remaining[0].input_ids, expected[4])
    assert torch.equal(remaining[1].input_ids, expected[5])


def test_a_second_iteration_continues_the_stream(rows: TokenRows) -> None:
    batches = TrainingBatches(rows, Masking(), 1, 16, steps=3)
    first, second = list(batches), list(batches)
    assert len(first) == len(second) == 3
    assert not any(torch.equal(a.input_ids, b.input_ids) for a, b in zip(first, second, strict=True))


def test_the_first_batches_can_be_repeated(rows: TokenRows) -> None:
    repeated = list(TrainingBatches(rows, Masking(), 1, 16, steps=5, repeat_first=1))
    assert all(torch.equal(batch.targets, repeated[0].targets) for batch in repeated)


def test_no_rows_and_too_few_rows_per_step_are_errors(rows: TokenRows) -> None:
    with pytest.raises(WinnowError, match="filter: expected at least one training row"):
        TrainingBatches(rows.take(np.arange(0)), Masking(), 1, 16, 1)
    with pytest.raises(WinnowError, match=r"training\.batch_size: .*at least 8"):
        TrainingBatches(rows, Masking(), 1, 7, 1, Shard(0, 4, 2))


@pytest.mark.parametrize(("count", "world_size", "batch_size"), [(11, 2, 3), (11, 3, 1), (4, 4, 64), (100, 3, 8)])
def test_each_held_out_row_is_in_exactly_one_shard(
    rows: TokenRows, count: int, world_size: int, batch_size: int
) -> None:
    held_out = rows.take(np.arange(count))
    shards = [HeldOutBatches(held_out, Masking(), 0, batch_size, Shard(rank, world_size)) for rank in range(world_size)]
    row_indices = [int(row) for shard in shards for row_batch in shard.row_batches for row in row_batch]
    assert sorted(row_indices) == list(range(count))
    assert len({len(shard) for shard in shards}) == 1
    assert all(len(row_batch) for shard in shards for row_batch in shard.row_batches)


def test_held_out_masks_do_not_depend_on_the_number_of_processes(rows: TokenRows) -> None:
    held_out = rows.take(np.arange(40))

    def collect_masks(world_size: int, batch_size: int) -> dict[int, list[int]]:
        masks = {}
        for rank in range(world_size):
            shard = HeldOutBatches(held_out, Masking(), 5, batch_size, Shard(rank, world_size))
            for row_batch, batch in zip(shard.row_batches, shard, strict=True):
                for i, row in enumerate(row_batch):
                    masks[int(row)] = batch.position_ids[batch.masked_indices[batch.masked_rows == i]].tolist()
        return masks

    assert collect_masks(1, 40) == collect_masks(3, 4)


def test_more_processes_than_held_out_rows_are_an_error(rows: TokenRows) -> None:
    with pytest.raises(WinnowError, match="3 held-out rows cannot be split across 4"):
        HeldOutBatches(rows.take(np.arange(3)), Masking(), 0, 8, Shard(0, 4))
