"""Slices of the held-out rows that the labels define."""

from typing import Any

import pyarrow as pa
import pytest

from winnow.errors import WinnowError
from winnow.run.held_out_slices import MAX_LABEL_SLICES, HeldOutSplit, build_slice_masks, check_label_slices


def rows_with_labels(labels: list[str | None] | list[int]) -> pa.Table:
    count = len(labels)
    return pa.table({"source": ["reviews"] * count, "split": ["test"] * count, "label": labels})


def test_each_text_label_is_a_slice() -> None:
    masks = build_slice_masks(rows_with_labels(["good", None, "so-so!", "good"]), {})
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "all": [True] * 4,
        "label/good": [True, False, False, True],
        "label/so-so_": [False, False, True, False],
    }


def test_integer_labels_are_no_slices_and_rare_text_labels_neither() -> None:
    assert list(build_slice_masks(rows_with_labels([0, 1, 1]), {})) == ["all"]
    labels = ["common", "common", *(f"rare {number:02}" for number in range(20))]
    masks = build_slice_masks(rows_with_labels(labels), {})
    assert list(masks) == ["all", "label/common", *(f"label/rare {n:02}" for n in range(MAX_LABEL_SLICES - 1))]


def test_a_declared_metric_of_a_label_needs_a_slice() -> None:
    rows, no_tokens = rows_with_labels(["good", "bad"]), Any
    held_out = {"test": HeldOutSplit("test", rows, build_slice_masks(rows, {}), no_tokens)}  # type: ignore[arg-type]
    check_label_slices(
        ["test/all/loss", "test/label/good/loss", "validation/label/goods/loss", "probe/nike/log_odds"], held_out
    )
    with pytest.raises(WinnowError, match="Did you mean 'label/good'"):
        check_label_slices(["test/label/goods/loss"], held_out)
