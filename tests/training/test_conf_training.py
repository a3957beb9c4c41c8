"""Every choice of the groups that this room answers for can be made into what it names."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose
from omegaconf import OmegaConf

from winnow.config import construct
from winnow.config.search_path import initialized_hydra
from winnow.training import Masking, Model, Pretrained, Scratch

CONF = Path(__file__).parents[2] / "conf"


def choice(group: str, name: str, *overrides: str) -> Any:
    with initialized_hydra():
        tree = OmegaConf.to_container(compose("train", overrides=[f"{group}={name}", *overrides]))
    assert isinstance(tree, dict)
    return construct(tree[group], group)


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", names("model"))
def test_a_model(name: str) -> None:
    assert isinstance(choice("model", name), Model)


def test_a_model_from_a_folder_is_one_override_away(tmp_path: Path) -> None:
    assert choice("model", "distilbert", f"model.name={tmp_path}") == Pretrained(str(tmp_path))
    assert choice("model", "scratch", "+model.layers=4") == Scratch(layers=4)


@pytest.mark.parametrize("name", names("masking"))
def test_a_masking(name: str) -> None:
    assert isinstance(choice("masking", name), Masking)


@pytest.mark.parametrize("name", names("optimizer"))
def test_an_optimizer_waits_for_its_parameters(name: str) -> None:
    optimizer = choice("optimizer", name)([{"params": [torch.nn.Parameter(torch.zeros(2))]}])
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert 0 < optimizer.param_groups[0]["lr"] < 0.01


@pytest.mark.parametrize("name", names("trainer"))
def test_a_trainer_waits_for_its_budget(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = choice("trainer", name)
    if made.keywords["accelerator"] == "cuda" and not torch.cuda.is_available():
        made.keywords["accelerator"] = "cpu"
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    trainer = made(max_steps=3, logger=False, enable_checkpointing=False, use_distributed_sampler=False)
    assert isinstance(trainer, pl.Trainer)
    assert trainer.world_size == (2 if name == "ddp" else 1)
