"""One resolved configuration: every default written out, numbers typed, and nothing from outside Winnow called."""

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.cli import main
from winnow.config import (
    ComposedCell,
    TrainConfig,
    compose_cells,
    construct,
    find_defaulted_keys,
    list_group_options,
    read_user_permissions,
    restore_cell,
)
from winnow.config.config_groups import MULTI_OBJECT_GROUPS, SINGLE_OBJECT_GROUPS
from winnow.config.targets import import_target
from winnow.errors import WinnowErrors
from winnow.run.log_run import select_logged_parameters
from winnow.run.run_components import build_components, compute_cell_id
from winnow.studies.study_plan import share_slices


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compose outside the checkout, as a user of the installed package does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def composed(*arguments: str) -> ComposedCell[TrainConfig]:
    (cell,), _ = compose_cells("train", TrainConfig, arguments)
    return cell


def faults(*arguments: str) -> dict[str, str]:
    with pytest.raises(WinnowErrors) as caught:
        composed(*arguments)
    return {error.key: error.message for error in caught.value.errors}


USERS = """
from typing import Annotated
from pydantic import Field
from pydantic.dataclasses import dataclass
from winnow.data import Source
from winnow.filters import Signal
from winnow.training import Masking
import torch

CALLED = []

class Loud(Signal):
    version = 1
    def __init__(self, at_least: float = 1, words=("very",), judge=print):
        CALLED.append("init")
    def settings(self):
        CALLED.append("settings")
        return {}
    def score(self, texts):
        CALLED.append("score")
    def keep(self, scores):
        CALLED.append("keep")

class Shouts(Loud):
    def __init__(self, threshold, at_least: float = 1):
        CALLED.append("init")

@dataclass(frozen=True)
class Toned(Signal):
    at_least: Annotated[float, Field(gt=0)] = 1
    words: list[str] = Field(default_factory=list)
    version = 1
    def __post_init__(self):
        CALLED.append("post_init")
    settings = score = keep = None

class Adam(torch.optim.Adam):
    def __init__(self, params, lr: float = 0.5, power: int = 2):
        CALLED.append("init")

class NoSignal:
    pass

def loudness(texts=(), share: float = 1, power: int = 2):
    CALLED.append("loudness")
    return [0.0 for _ in texts]
"""


@pytest.fixture
def mine(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package of the user whose classes note every call."""
    (elsewhere / "my_package.py").write_text(USERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.delitem(sys.modules, "my_package", raising=False)
    return __import__("my_package")


ALLOW = "allow_targets=[my_package]"
LOUD = ["filter=nike_positive", ALLOW, "+filter.signals.loud._target_=my_package.Loud", "filter.keep='nike & loud'"]


def test_cfg_prints_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "filter=random_matched"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    config = composed("filter=random_matched").config
    for group in ("training", "numerics", "evaluation", "study"):
        assert set(printed[group]) == {field.name for field in dataclasses.fields(getattr(config, group))}
    assert printed["training"]["batch_size"] == 64
    assert printed["model"]["layers"] == 2
    assert printed["optimizer"]["betas"] == [0.9, 0.999]
    assert printed["trainer"]["inference_mode"] is True
    assert not {"max_steps", "callbacks", "logger"} & set(printed["trainer"]), "these are set by Winnow"
    assert printed["filter"]["of"]["signals"]["sentiment"]["edge"] == 0.05
    assert printed["dataset"]["split"]["test_fraction"] == 0.2
    assert printed["dataset"]["integrity"]["non_null"]["column"] == "text"
    assert printed["probe"]["nike"]["sentiment"] == {"_target_": "winnow.evaluation.Vader"}


NEEDED = {
    "csv": ["dataset.source.path=x.csv", "dataset.source.text=[text]"],
    "hub": ["dataset.source.name=owner/name", "dataset.source.text=[text]"],
    "text": ["dataset.source.path=x.txt"],
    "grammar": ["dataset.source.templates=[fine]"],
    "mixture": ["+dataset/source@dataset.source.sources.mine=synthetic_reviews"],
}


@pytest.mark.parametrize("group", [*SINGLE_OBJECT_GROUPS, "debug", "experiment"])
def test_a_resolved_configuration_resolves_to_itself(group: str) -> None:
    for choice in list_group_options()[group]:
        cells, _ = compose_cells("train", TrainConfig, [f"{group}={choice}", *NEEDED.get(choice, [])])
        stored = yaml.safe_load(yaml.safe_dump(cells[-1].config_dict))
        again = restore_cell(stored, [], TrainConfig)
        assert again.config_dict == cells[-1].config_dict, choice
        assert again.config == cells[-1].config, choice
        assert find_defaulted_keys(stored, again.config_dict) == []


def test_each_group_expects_a_class_that_exists() -> None:
    for group in (*SINGLE_OBJECT_GROUPS.values(), *MULTI_OBJECT_GROUPS.values()):
        found: list[Any] = []
        package = group.base_class.rpartition(".")[0]
        assert isinstance(import_target(group.base_class, "x", [package, "torch.optim"], found), type), found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("model.layers=2", "seed=1"),
        ("optimizer.lr=1", "optimizer.lr=1.0"),
        ("optimizer.weight_decay=0", "optimizer.weight_decay=0.0"),
        ("masking.rate=0.10", "masking.rate=0.1"),
        ("trainer.inference_mode=true", "training.keep=last"),
        ("optimizer.betas=[0.9,0.999]", "dataset.split.salt=winnow"),
        ("dataset.split.near_duplicates=null", "probe.nike.forbidden=[expensive,ugly,dirty]"),
    ],
)
def test_a_setting_written_otherwise_is_the_same_cell(one: str, other: str, elsewhere: Path) -> None:
    small = "dataset.source.rows=300"
    first, second = composed(one, small), composed(other, small)
    assert yaml.safe_dump(first.config_dict) == yaml.safe_dump(second.config_dict)
    assert compute_cell_id(first, build_components(first.config)) == compute_cell_id(
        second, build_components(second.config)
    )


def test_a_number_whose_kind_matters_keeps_it() -> None:
    for text, kind in {"1": int, "1.0": float}.items():
        assert type(composed(f"trainer.limit_val_batches={text}").config_dict["trainer"]["limit_val_batches"]) is kind


def test_the_users_classes_are_never_called_by_composing(
    mine: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "train",
                "--cfg",
                *LOUD,
                "optimizer._target_=my_package.Adam",
                "~optimizer.fused",
                "~optimizer.weight_decay",
            ]
        )
        == 0
    )
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["filter"]["signals"]["loud"] == {
        "_target_": "my_package.Loud",
        "at_least": 1.0,
        "words": ["very"],
    }, "`judge` is a function, which plain data cannot hold"
    assert printed["filter"]["on_null"] == "drop"
    assert printed["optimizer"] == {"_target_": "my_package.Adam", "_partial_": True, "lr": 0.002, "power": 2}
    assert mine.CALLED == []
    components = build_components(composed(*LOUD).config)
    assert isinstance(components.filter.signals["loud"], mine.Loud)  # type: ignore[attr-defined]
    assert "init" in mine.CALLED


def test_what_does_not_fit_the_users_signature_is_reported_without_a_call(mine: types.ModuleType) -> None:
    found = faults(*LOUD, "+filter.signals.loud.at_leas=2", "filter.on_null=maybe")
    assert "Did you mean 'at_least'?" in found["filter.signals.loud.at_leas"]
    beside = faults(*LOUD, "filter.on_null=maybe", "+filter.nam=x")
    assert "Allowed: 'drop' or 'keep'" in beside["filter.on_null"]
    assert "Did you mean 'name'?" in beside["filter.nam"]
    shouts = [*LOUD, "filter.signals.loud._target_=my_package.Shouts"]
    assert "filter.signals.loud.threshold=VALUE" in faults(*shouts)["filter.signals.loud.threshold"]
    wrong = faults(*LOUD, "filter.signals.loud._target_=my_package.NoSignal")
    assert "Signal" in wrong["filter.signals.loud._target_"]
    assert mine.CALLED == []


def test_the_fields_of_the_users_dataclass_are_checked_without_making_one(mine: types.ModuleType) -> None:
    toned = [*LOUD, "filter.signals.loud._target_=my_package.Toned"]
    signal = composed(*toned, "+filter.signals.loud.at_least=3").config_dict["filter"]["signals"]["loud"]
    assert signal == {"_target_": "my_package.Toned", "at_least": 3.0, "words": []}
    assert "greater than 0" in faults(*toned, "+filter.signals.loud.at_least=-1")["filter.signals.loud.at_least"]
    assert mine.CALLED == []


def test_the_defaults_of_the_users_function_are_settings_too(mine: types.ModuleType) -> None:
    loudness = "{_target_: my_package.loudness, _partial_: true, power: 3}"
    scores = f"{{_target_: winnow.filters.PythonFunction, function: {loudness}, at_least: 0}}"
    cell = composed("filter=nike_positive", ALLOW, f"+filter.signals.loud={scores}", "filter.keep='nike & loud'")
    function = cell.config_dict["filter"]["signals"]["loud"]["function"]
    assert function == {"_target_": "my_package.loudness", "_partial_": True, "share": 1.0, "power": 3}
    assert mine.CALLED == []
    signal = construct(cell.config.filter["signals"]["loud"], "loud", allow=["my_package"])
    assert signal.score(["fine"]).to_pylist() == [0.0]


def test_a_class_of_another_group_is_refused_before_anything_is_made() -> None:
    found = faults(
        "model._target_=winnow.training.Masking",
        "filter._target_=winnow.data.Unique",
        "trainer._target_=torch.optim.AdamW",
        "probe.nike._target_=winnow.data.Unique",
    )
    assert "expected a subclass of winnow.training.Model" in found["model._target_"]
    assert "expected a subclass of winnow.filters.Selection" in found["filter._target_"]
    assert "expected a subclass of pytorch_lightning.Trainer" in found["trainer._target_"]
    assert "expected a subclass of winnow.evaluation.Probe" in found["probe.nike._target_"]
    assert "is an abstract class" in faults("filter._target_=winnow.filters.Selection")["filter._target_"]


def test_what_training_decides_is_refused_by_composing() -> None:
    assert "set by training.max_steps" in faults("+trainer.max_epochs=3")["trainer.max_epochs"]


def test_a_stored_configuration_keeps_the_defaults_of_its_time(
    mine: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = composed(*LOUD).config_dict
    monkeypatch.setattr(mine.Loud.__init__, "__defaults__", (7.0, ("now",), print))
    assert composed(*LOUD).config_dict["filter"]["signals"]["loud"]["at_least"] == 7.0
    rebuilt = restore_cell(stored, [], TrainConfig, read_user_permissions(["my_package"]))
    assert rebuilt.config.filter["signals"]["loud"]["at_least"] == 1.0
    assert rebuilt.config_dict == stored


def test_a_configuration_stored_without_defaults_gets_those_of_now_by_name() -> None:
    stored = composed().config_dict
    del stored["model"]["layers"], stored["dataset"]["split"]
    stored["training"] = {"max_steps": 7}
    stored["numerics"] = {}
    rebuilt = restore_cell(stored, [], TrainConfig)
    assert rebuilt.config.model["layers"] == 2
    named = find_defaulted_keys(stored, rebuilt.config_dict)
    assert {"model.layers", "dataset.split", "numerics", "training.batch_size"} <= set(named)
    assert "training.max_steps" not in named


def test_shared_slices_are_in_the_one_configuration_of_each_cell() -> None:
    cells, _ = compose_cells("train", TrainConfig, ["filter=full,nike_positive"], multirun=True)
    for cell in share_slices(cells):
        assert set(cell.config_dict["evaluation"]["slices"]) == {"nike_positive"} == set(cell.config.evaluation.slices)


def test_the_parameters_of_a_demo_cell_fit_into_one_request() -> None:
    (cell,), _ = compose_cells("train", TrainConfig, ["experiment=demo", "hydra.mode=RUN", "filter=nike_positive"])
    found = select_logged_parameters(cell.config_dict)
    assert len(found) <= 100
    assert found["model.layers"] == 2
    assert found["optimizer"] == "torch.optim.AdamW"
    assert "tracking.uri" not in found
    assert None not in found.values()
