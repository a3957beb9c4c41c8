import numpy as np

from winnow.training import MaskedBatch
from winnow.training.masking import IGNORE_INDEX


def test_masked_tokens_keep_the_order_of_the_input_rows() -> None:
    labels = np.full(8, IGNORE_INDEX)
    labels[[1, 2, 4, 7]] = [91, 92, 94, 97]
    batch = MaskedBatch.from_flat_tokens(np.arange(8), labels, np.array([3, 1, 0, 4]))
    assert batch.length_groups == ((1, 3), (1, 4))
    assert batch.targets.tolist() == [91, 92, 94, 97]
    assert batch.masked_rows.tolist() == [0, 0, 3, 3]
    assert batch.input_ids.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert batch.input_ids[batch.masked_indices].tolist() == [1, 2, 4, 7]


def test_rows_without_masked_tokens_are_dropped_but_counted() -> None:
    labels = np.full(9, IGNORE_INDEX)
    labels[5] = 95
    batch = MaskedBatch.from_flat_tokens(np.arange(9), labels, np.array([3, 2, 4]))
    assert batch.input_ids.tolist() == [5, 6, 7, 8]
    assert (batch.length_groups, batch.masked_rows.tolist(), batch.num_tokens) == (((1, 4),), [2], 9)


def test_the_shortest_row_is_kept_if_no_token_is_masked() -> None:
    batch = MaskedBatch.from_flat_tokens(np.arange(9), np.full(9, IGNORE_INDEX), np.array([4, 0, 2, 3]))
    assert batch.input_ids.tolist() == [4, 5]
    assert (batch.length_groups, len(batch.masked_indices), batch.num_tokens) == (((1, 2),), 0, 9)


def test_padded_rows_contain_the_same_tokens() -> None:
    labels = np.full(8, IGNORE_INDEX)
    labels[[1, 3, 7]] = 9
    batch = MaskedBatch.from_flat_tokens(np.arange(10, 18), labels, np.array([3, 1, 4]))
    inputs, masked_indices = batch.to_padded(pad_id=5)
    assert inputs["input_ids"].tolist() == [[13, 5, 5, 5], [10, 11, 12, 5], [14, 15, 16, 17]]
    assert inputs["attention_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert inputs["input_ids"].flatten()[masked_indices].tolist() == [11, 13, 17]
