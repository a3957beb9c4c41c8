"""Which weights are trained, and how fast."""

import functools
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from winnow.errors import WinnowError
from winnow.training.optimization import Scheduler, freeze, parameter_groups, schedule

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01)
KINDS: list[Scheduler] = ["linear", "cosine", "constant"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fraction", "steps"), [(0.0, 1), (0.0, 10), (0.1, 10), (0.5, 7), (1.0, 5)])
def test_the_schedule_climbs_then_falls_and_wastes_no_step(kind: Scheduler, fraction: float, steps: int) -> None:
    factor = schedule(kind, fraction, steps)
    values = [factor(step) for step in range(steps)]
    assert all(0 < value <= 1 for value in values)
    assert factor(steps) == (1 if kind == "constant" else 0) or fraction == 1
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_without_warm_up_it_is_the_librarys(kind: Scheduler) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(f"{kind}_with_warmup" if kind == "constant" else kind, optimizer, 0, 20)
    for step in range(20):
        assert schedule(kind, 0, 20)(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_biases_and_norms_do_not_decay(model: Any) -> None:
    groups = parameter_groups(model)
    decaying, others = ([id(parameter) for parameter in group["params"]] for group in groups)
    optimizer = ADAMW(groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    for name, parameter in model.named_parameters():
        small = name.endswith("bias") or "norm" in name.lower()
        assert (id(parameter) in others) is small, name
        assert (id(parameter) in decaying) is not small, name


@pytest.mark.parametrize("pattern", ["distilbert.transformer.layer.0", "*.layer.[0-3].*"])
def test_a_frozen_part_is_in_no_group(model: Any, pattern: str) -> None:
    layer = list(model.distilbert.transformer.layer[0].parameters())
    assert freeze(model, [pattern]) == sum(parameter.numel() for parameter in layer)
    trained = {id(parameter) for group in parameter_groups(model) for parameter in group["params"]}
    assert not trained & {id(parameter) for parameter in layer}
    assert len(trained) == len(list(model.parameters())) - len(layer)


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        (["distilbert.embedings"], "Did you mean 'distilbert.embeddings'?"),
        (["distilbert.embeddings", "*.layers.*"], "matches no weight"),
        (["*"], "freezes every weight"),
    ],
)
def test_what_cannot_be_frozen_is_told(model: Any, patterns: list[str], told: str) -> None:
    with pytest.raises(WinnowError, match=told.replace("?", r"\?")) as raised:
        freeze(model, patterns)
    assert raised.value.key == "training.freeze"
