"""Muon combined with AdamW makes the updates of PyTorch's two optimizers."""

import copy
from typing import Any

import pytest
import torch

from winnow.training.muon import MuonWithAdamW
from winnow.training.optimization import build_parameter_groups, freeze_parameters


def set_gradients(model: Any, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) if parameter.requires_grad else None


def test_updates_equal_those_of_muon_and_adamw_also_after_loading_a_state(model: Any) -> None:
    expected = copy.deepcopy(model)
    optimizer = MuonWithAdamW(build_parameter_groups(model), lr=0.01, adamw_lr=3e-3, betas=(0.9, 0.98), ns_steps=4)
    embeddings, hidden, others = build_parameter_groups(expected)
    muon = torch.optim.Muon([hidden], lr=0.01, weight_decay=0.01, ns_steps=4, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([embeddings, others], lr=3e-3, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    optimizers = [optimizer, muon, adamw]
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda step: 1 / (1 + step)) for each in optimizers]
    for step in range(6):
        if step == 3:  # as in a resumed run
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = MuonWithAdamW(build_parameter_groups(model))
            schedules[0] = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step), last_epoch=-1)
            schedules[0].load_state_dict({**schedules[1].state_dict(), "base_lrs": [0.01, 3e-3, 3e-3]})
            optimizer.load_state_dict(saved)
            optimizers[0] = optimizer
        set_gradients(model, step)
        set_gradients(expected, step)
        for each in optimizers:
            each.step()
        for schedule in schedules:
            schedule.step()
    rates = [group["lr"] for group in (*muon.param_groups, *adamw.param_groups)]
    assert [group["lr"] for group in optimizer.param_groups] == rates == pytest.approx([0.01 / 7, 3e-3 / 7, 3e-3 / 7])
    for (name, weights), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(weights, other), name


@pytest.mark.parametrize("frozen", ["distilbert.embeddings", "*.weight"])
def test_one_kind_of_parameters_can_be_frozen(model: Any, frozen: str) -> None:
    freeze_parameters(model, [frozen])
    optimizer = MuonWithAdamW(build_parameter_groups(model))
    before = {name: weights.clone() for name, weights in model.named_parameters()}
    set_gradients(model, 0)
    optimizer.step(lambda: torch.tensor(0.0))
    for name, weights in model.named_parameters():
        assert torch.equal(weights, before[name]) is not weights.requires_grad, name
