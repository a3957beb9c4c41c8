"""Slices of the held-out rows that the labels define."""

import pyarrow as pa

from winnow.run.held_out_slices import MAX_LABEL_SLICES, build_slice_masks


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
