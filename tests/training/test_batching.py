import itertools

import numpy as np
import pytest
import torch

from winnow.errors import WinnowError
from winnow.training import HeldOutBatches, Masking, Share, TokenRows, TrainingBatches


def stream_of(batches: TrainingBatches, numbers: range) -> list[int]:
    return [int(row) for number in numbers for row in batches.draw(number)[0]]


def test_every_pass_sees_every_row_once_in_another_order(rows: TokenRows) -> None:
    few = rows.take(np.arange(100))
    batches = TrainingBatches(few, Masking(), seed=1, batch_size=10, steps=20)
    first, second = stream_of(batches, range(10)), stream_of(batches, range(10, 20))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert stream_of(TrainingBatches(few, Masking(), 2, 10, 20), range(10)) != first


def test_a_step_that_ends_a_pass_runs_on_into_the_next(rows: TokenRows) -> None:
    few = rows.take(np.arange(7))
    batches = TrainingBatches(few, Masking(), seed=1, batch_size=3, steps=14)
    stream = stream_of(batches, range(14))
    assert len(stream) == 42
    for number_of_pass in range(6):
        assert sorted(stream[7 * number_of_pass : 7 * number_of_pass + 7]) == list(range(7))
    assert batches.draw(2)[1].tolist() == [0, 1, 1]


def test_fewer_rows_than_a_batch_are_seen_again_with_new_masks(rows: TokenRows) -> None:
    batches = TrainingBatches(rows.take(np.arange(4)), Masking(rate=0.5), seed=1, batch_size=8, steps=1)
    chosen, passes = batches.draw(0)
    assert sorted(chosen.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert passes.tolist() == [0] * 4 + [1] * 4
    batch = batches[0]
    masks = [np.flatnonzero(batch.owners == row).tolist() for row in range(8)]
    guessed = [batch.positions[batch.masked[at]].tolist() for at in masks]
    pairs = [np.flatnonzero(chosen == row) for row in range(4)]
    assert any(guessed[first] != guessed[second] for first, second in pairs)


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 4), (2, 1), (3, 2), (5, 1)])
def test_all_processes_together_see_the_rows_that_one_would(rows: TokenRows, world_size: int, accumulate: int) -> None:
    alone = TrainingBatches(rows, Masking(), 1, 32, steps=3)
    shares = [
        TrainingBatches(rows, Masking(), 1, 32, 3, Share(rank, world_size, accumulate)) for rank in range(world_size)
    ]
    for step in range(3):
        parts = [
            share.draw(step * accumulate + part)[0].tolist()
            for part, share in itertools.product(range(accumulate), shares)
        ]
        assert min(map(len, parts)) >= 1
        assert sorted(itertools.chain(*parts)) == sorted(alone.draw(step)[0].tolist())
    assert {len(share) for share in shares} == {3 * accumulate}


def test_the_order_does_not_depend_on_where_rows_stand(rows: TokenRows) -> None:
    few = rows.take(np.arange(50))
    turned = rows.take(np.arange(50)[::-1])
    one, other = (TrainingBatches(some, Masking(), 1, 10, 5) for some in (few, turned))
    assert few.keys[one.draw(3)[0]].tolist() == turned.keys[other.draw(3)[0]].tolist()


def test_rows_of_equal_length_stand_side_by_side_and_every_token_is_there(rows: TokenRows) -> None:
    batches = TrainingBatches(rows, Masking(rate=0.9), 1, 16, 1)  # so that every row has something to guess
    chosen, _ = batches.draw(0)
    batch = batches[0]
    lengths = sorted(rows.lengths[chosen].tolist())
    assert [length for count, length in batch.groups for _ in range(count)] == lengths
    assert len({length for _, length in batch.groups}) == len(batch.groups) > 2
    assert batch.positions.tolist() == [position for length in lengths for position in range(length)]
    restored = batch.input_ids.clone()
    restored[batch.masked] = batch.targets
    found = {tuple(row.tolist()) for row in restored.split(lengths)}
    assert found == {tuple(rows.ids[rows.offsets[row] : rows.offsets[row + 1]]) for row in chosen}


def test_a_stream_goes_on_where_its_state_stood(rows: TokenRows) -> None:
    whole = [batch.input_ids for batch in TrainingBatches(rows, Masking(), 1, 16, 6)]
    started = TrainingBatches(rows, Masking(), 1, 16, 6)
    for _ in zip(range(4), started, strict=False):
        pass
    resumed = TrainingBatches(rows, Masking(), 1, 16, 6)
    resumed.load_state_dict({"next": 4})
    rest = list(resumed)
    assert len(rest) == 2
    assert torch.equal(rest[0].input_ids, whole[4])
    assert torch.equal(rest[1].input_ids, whole[5])


def test_a_second_round_goes_on_with_the_stream(rows: TokenRows) -> None:
    batches = TrainingBatches(rows, Masking(), 1, 16, steps=3)
    first, second = list(batches), list(batches)
    assert len(first) == len(second) == 3
    assert not any(torch.equal(a.input_ids, b.input_ids) for a, b in zip(first, second, strict=True))


def test_the_first_batches_can_be_repeated_for_ever(rows: TokenRows) -> None:
    repeated = list(TrainingBatches(rows, Masking(), 1, 16, steps=5, only_first=1))
    assert all(torch.equal(batch.targets, repeated[0].targets) for batch in repeated)


def test_no_rows_and_too_few_in_a_step_are_refused(rows: TokenRows) -> None:
    with pytest.raises(WinnowError, match="no row to train on"):
        TrainingBatches(rows.take(np.arange(0)), Masking(), 1, 16, 1)
    with pytest.raises(WinnowError, match=r"training\.batch_size: .*at least 8"):
        TrainingBatches(rows, Masking(), 1, 7, 1, Share(0, 4, 2))


@pytest.mark.parametrize(("count", "world_size", "batch_size"), [(11, 2, 3), (11, 3, 1), (4, 4, 64), (100, 3, 8)])
def test_each_held_out_row_is_seen_once_and_by_one_process(
    rows: TokenRows, count: int, world_size: int, batch_size: int
) -> None:
    some = rows.take(np.arange(count))
    shares = [HeldOutBatches(some, Masking(), 0, batch_size, Share(rank, world_size)) for rank in range(world_size)]
    seen = [int(row) for share in shares for draw in share.draws for row in draw]
    assert sorted(seen) == list(range(count))
    assert len({len(share) for share in shares}) == 1
    assert all(len(draw) for share in shares for draw in share.draws)


def test_held_out_masks_are_the_same_on_any_number_of_processes(rows: TokenRows) -> None:
    some = rows.take(np.arange(40))

    def masks(world_size: int, batch_size: int) -> dict[int, list[int]]:
        found = {}
        for rank in range(world_size):
            share = HeldOutBatches(some, Masking(), 5, batch_size, Share(rank, world_size))
            for draw, batch in zip(share.draws, share, strict=True):
                for i, row in enumerate(draw):
                    found[int(row)] = batch.positions[batch.masked[batch.owners == i]].tolist()
        return found

    assert masks(1, 40) == masks(3, 4)


def test_more_processes_than_held_out_rows_are_refused(rows: TokenRows) -> None:
    with pytest.raises(WinnowError, match="3 held-out rows cannot be shared among 4"):
        HeldOutBatches(rows.take(np.arange(3)), Masking(), 0, 8, Share(0, 4))
