from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from winnow.data import Files, Mixture, Source
from winnow.errors import WinnowError


@pytest.fixture
def sources(write_csv: Callable[..., Path]) -> dict[str, Source]:
    return {
        "plain": Files(path=write_csv("t\na\n\nb\n", "plain.csv"), text=["t"]),
        "rated": Files(path=write_csv("t,y\nc,1\n", "rated.csv"), text=["t"], label="y"),
    }


def test_a_mixture_keeps_order_and_the_source_of_each_row(sources: dict[str, Source]) -> None:
    rows = Mixture(sources=sources).read().to_pylist()
    assert rows == [
        {"text": "a", "source": "plain", "label": None},
        {"text": "b", "source": "plain", "label": None},
        {"text": "c", "source": "rated", "label": 1},
    ]


def test_a_mixture_without_labels_has_no_label_column(sources: dict[str, Source]) -> None:
    assert Mixture(sources={"only": sources["plain"]}).read().column_names == ["text", "source"]


def test_its_fingerprint_follows_names_and_order(sources: dict[str, Source]) -> None:
    turned = dict(reversed(sources.items()))
    renamed = {"other": sources["plain"], "rated": sources["rated"]}
    assert len({Mixture(sources=given).fingerprint() for given in (sources, turned, renamed)}) == 3


def test_faults_carry_the_name_of_their_source(sources: dict[str, Source], tmp_path: Path) -> None:
    absent = Files(path=tmp_path / "absent.csv", text=["t"])
    mixture = Mixture(sources={"absent": absent, **sources, "gone": absent})
    assert [fault.key for fault in mixture.check()] == ["sources.absent.path", "sources.gone.path"]
    with pytest.raises(WinnowError) as caught:
        mixture.read()
    assert caught.value.key == "sources.absent.path"


def test_a_mixture_of_nothing_is_a_fault() -> None:
    with pytest.raises(WinnowError, match="at least one source") as caught:
        Mixture(sources={})
    assert caught.value.key == "sources"
