"""Every option of the training config groups can be instantiated."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose
from omegaconf import OmegaConf

from winnow.config import TrainConfig, compose_cells, construct
from winnow.config.search_path import initialized_hydra
from winnow.training import Masking, Model, Pretrained, Scratch

CONF = Path(__file__).parents[2] / "conf"


def build_option(group: str, name: str, *overrides: str) -> Any:
    with initialized_hydra():
        tree = OmegaConf.to_container(compose("train", overrides=[f"{group}={name}", *overrides]))
    assert isinstance(tree, dict)
    return construct(tree[group], group)


def list_options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", list_options("model"))
def test_model_options(name: str) -> None:
    assert isinstance(build_option("model", name), Model)


def test_model_options_can_be_overridden(tmp_path: Path) -> None:
    assert build_option("model", "distilbert", f"model.name={tmp_path}") == Pretrained(str(tmp_path))
    assert build_option("model", "scratch", "+model.layers=4") == Scratch(layers=4)


@pytest.mark.parametrize("name", list_options("masking"))
def test_masking_options(name: str) -> None:
    assert isinstance(build_option("masking", name), Masking)


@pytest.mark.parametrize("name", list_options("optimizer"))
def test_optimizer_options(name: str) -> None:
    optimizer = build_option("optimizer", name)([{"params": [torch.nn.Parameter(torch.zeros(2))]}])
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert all(0 < group["lr"] < 0.1 for group in optimizer.param_groups)


@pytest.mark.parametrize("name", list_options("trainer"))
def test_trainer_options(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build_trainer = build_option("trainer", name)
    if build_trainer.keywords["accelerator"] == "cuda" and not torch.cuda.is_available():
        build_trainer.keywords["accelerator"] = "cpu"
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    trainer = build_trainer(max_steps=3, logger=False, enable_checkpointing=False, use_distributed_sampler=False)
    assert isinstance(trainer, pl.Trainer)
    assert trainer.world_size == (2 if name == "ddp" else 1)


def test_the_ladder_varies_only_the_filter_the_size_and_the_seed(workplace: Path) -> None:
    cells, is_sweep = compose_cells("train", TrainConfig, ["experiment=ladder"])
    assert is_sweep
    assert len(cells) == 45
    sizes = {cell.config.factors["model"]: cell.config.model for cell in cells}
    assert list(sizes) == ["scratch_small", "scratch", "scratch_large"]
    assert [size["hidden_size"] for size in sizes.values()] == [64, 128, 256]
    assert [size["layers"] for size in sizes.values()] == [1, 2, 4]
    assert {size["dropout"] for size in sizes.values()} == {0}
