"""Names of the arms of a sweep, and settings that only some filters have."""

from pathlib import Path

import pytest

from winnow.config import ComposedCell, TrainConfig, compose_cells
from winnow.config.arm_names import format_name
from winnow.errors import WinnowErrors

CHEERFUL = """
_target_: winnow.filters.Filter
name: cheerful
signals:
  mood: {_target_: winnow.filters.VaderSentiment}
  praise: {_target_: winnow.filters.Mentions, words: [good]}
keep: mood & praise
"""
CONTROL = """
defaults:
  - /filter@of: cheerful
  - _self_
_target_: winnow.filters.RandomMatched
"""
MOOD = "filter.signals.mood.at_least=0.0,0.4"


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "conf" / "filter"
    folder.mkdir(parents=True)
    (folder / "cheerful.yaml").write_text(CHEERFUL, encoding="utf-8")
    (folder / "cheerful_control.yaml").write_text(CONTROL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def compose(*overrides: str) -> list[ComposedCell[TrainConfig]]:
    return compose_cells("train", TrainConfig, overrides, multirun=True)[0]


def list_names(*overrides: str) -> list[tuple[str, str | None]]:
    return [(cell.config.filter["name"], cell.config.filter.get("label")) for cell in compose(*overrides)]


def test_arms_are_named_after_swept_settings_and_other_filters_keep_their_name() -> None:
    assert list_names("filter=full,cheerful", MOOD) == [
        ("full", None),
        ("cheerful-mood.at_least-0", "cheerful[mood.at_least=0]"),
        ("cheerful-mood.at_least-0.4", "cheerful[mood.at_least=0.4]"),
    ]


def test_a_name_does_not_depend_on_the_other_values_or_their_notation() -> None:
    few = list_names("filter=cheerful", MOOD)[1]
    many = list_names("filter=cheerful", "filter.signals.mood.at_least=-0.2,0.40,0.6")[1]
    assert few == many
    assert list_names("filter=cheerful", "filter.signals.mood.at_least=0.4") == [("cheerful", None)]


def test_several_swept_settings_are_listed_in_order() -> None:
    names = [name for name, _ in list_names("filter=cheerful", MOOD, "filter.on_null=keep,drop")]
    assert len(set(names)) == 4
    assert names[0] == "cheerful-mood.at_least-0-on_null-keep"


def test_a_setting_reaches_the_base_filter_of_a_control() -> None:
    cells = compose("filter=full,cheerful,cheerful_control", MOOD, "seed=1,2")
    nodes = [cell.config.filter for cell in cells[::2]]
    assert [node["name"] for node in nodes] == [
        "full",
        "cheerful-mood.at_least-0",
        "cheerful-mood.at_least-0.4",
        "random_matched-mood.at_least-0",
        "random_matched-mood.at_least-0.4",
    ]
    assert [node["of"]["name"] for node in nodes[3:]] == [node["name"] for node in nodes[1:3]]
    assert nodes[4]["of"]["signals"]["mood"]["at_least"] == 0.4


def test_ablations_are_arms_of_each_threshold() -> None:
    cells = compose("filter=full,cheerful", MOOD, "filter.ablate=[praise]")
    ablated = [cell.config.filter["of"]["name"] for cell in cells if "signal" in cell.config.filter]
    assert ablated == ["cheerful-mood.at_least-0", "cheerful-mood.at_least-0.4"]


def test_expressions_and_lists_have_distinct_names_that_mlflow_and_the_shell_accept() -> None:
    names = [format_name("x", {"keep": text}) for text in ("a & b", "a | b", "[a,b]", "ä", "a" * 500, "b" * 500)]
    assert len(set(names)) == len(names)
    assert all(len(name) < 60 and set(name) <= set("xkep-ab_0123456789cdf") for name in names)


def test_a_key_that_no_filter_has_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(WinnowErrors) as raised:
        compose("filter=full,cheerful", "filter.signals.mod.at_least=0.0,0.4")
    (error,) = raised.value.errors
    assert error.key == "filter.signals.mod.at_least"
    assert "Did you mean 'filter.signals.mood'?" in error.message
