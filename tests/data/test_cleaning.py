from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.data import CleaningStep, normalize
from winnow.data.cleaning import clean_texts


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("lower_case", "Nike ÉLAN", "nike élan"),
        ("strip_digits", "Air Max 90 (2x) ٣", "Air Max  (x) "),
        ("strip_punctuation", "Good-looking, isn't it? $5 👍", "Good looking  isnt it   5  "),
        ("strip_punctuation", "COMFORT.The \u2018new\u2019 shoe™ it\u2019s", "COMFORT The  new  shoe  its"),
        ("strip_punctuation", "हिन्दी cafe\u0301", "हिन्दी cafe\u0301"),
        ("collapse_space", " a\t b\u00a0\n c ", "a b c"),
        ("drop_null", "as it was ", "as it was "),
    ],
)
def test_a_step_does_what_its_name_says(step: str, before: str, after: str) -> None:
    assert clean_texts([before], [CleaningStep(step)]) == [after]


def test_steps_run_in_the_order_given() -> None:
    steps = [CleaningStep.COLLAPSE_SPACE, CleaningStep.STRIP_DIGITS]
    assert clean_texts(["a 1 b"], steps) == ["a  b"]
    assert clean_texts(["a 1 b"], steps[::-1]) == ["a b"]


def test_a_text_that_is_emptied_is_null() -> None:
    assert (
        clean_texts(["12", "?!", " ", "", None], [CleaningStep.STRIP_DIGITS, CleaningStep.STRIP_PUNCTUATION])
        == [None] * 5
    )


def test_the_word_nan_is_a_text() -> None:
    assert clean_texts(["nan", "NA", "None", "null"], list(CleaningStep)) == ["nan", "na", "none", "null"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("  Nike\tSHOES\n", "nike shoes"), ("STRASSE", "straße"), ("ﬁt", "FIT"), ("cafe\u0301", "CAFÉ")],
)
def test_normalise_makes_these_the_same(one: str, other: str) -> None:
    assert normalize(one) == normalize(other)


def test_normalise_keeps_punctuation_apart() -> None:
    assert normalize("high-quality") != normalize("high quality")


@given(st.text())
def test_normalise_is_settled_after_one_time(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)
