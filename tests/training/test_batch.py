import numpy as np

from winnow.training import Batch
from winnow.training.masking import IGNORED


def test_masked_tokens_come_in_the_order_of_the_rows_given() -> None:
    labels = np.full(8, IGNORED)
    labels[[1, 2, 4, 7]] = [91, 92, 94, 97]
    batch = Batch.of(np.arange(8), labels, np.array([3, 1, 0, 4]))
    assert batch.groups == ((1, 3), (1, 4))
    assert batch.targets.tolist() == [91, 92, 94, 97]
    assert batch.owners.tolist() == [0, 0, 3, 3]
    assert batch.input_ids.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert batch.input_ids[batch.masked].tolist() == [1, 2, 4, 7]


def test_a_row_without_a_token_to_guess_takes_no_part_but_is_counted() -> None:
    labels = np.full(9, IGNORED)
    labels[5] = 95
    batch = Batch.of(np.arange(9), labels, np.array([3, 2, 4]))
    assert batch.input_ids.tolist() == [5, 6, 7, 8]
    assert (batch.groups, batch.owners.tolist(), batch.tokens) == (((1, 4),), [2], 9)


def test_the_shortest_row_stays_where_nothing_is_to_be_guessed() -> None:
    batch = Batch.of(np.arange(9), np.full(9, IGNORED), np.array([4, 0, 2, 3]))
    assert batch.input_ids.tolist() == [4, 5]
    assert (batch.groups, len(batch.masked), batch.tokens) == (((1, 2),), 0, 9)


def test_padded_rows_hold_the_same_tokens() -> None:
    labels = np.full(8, IGNORED)
    labels[[1, 3, 7]] = 9
    batch = Batch.of(np.arange(10, 18), labels, np.array([3, 1, 4]))
    inputs, masked = batch.padded(pad_id=5)
    assert inputs["input_ids"].tolist() == [[13, 5, 5, 5], [10, 11, 12, 5], [14, 15, 16, 17]]
    assert inputs["attention_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert inputs["input_ids"].flatten()[masked].tolist() == [11, 13, 17]
