"""Freezing, parameter groups and learning rate schedules."""

import functools
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from winnow.errors import WinnowError
from winnow.training.optimization import ScheduleKind, build_parameter_groups, build_schedule, freeze_parameters

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01)
KINDS: list[ScheduleKind] = ["linear", "cosine", "constant"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fraction", "steps"), [(0.0, 1), (0.0, 10), (0.1, 10), (0.5, 7), (1.0, 5)])
def test_the_schedule_increases_then_decreases_and_is_positive_at_every_step(
    kind: ScheduleKind, fraction: float, steps: int
) -> None:
    factor = build_schedule(kind, fraction, steps)
    values = [factor(step) for step in range(steps)]
    assert all(0 < value <= 1 for value in values)
    assert factor(steps) == (1 if kind == "constant" else 0) or fraction == 1
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_without_warmup_the_schedule_equals_that_of_transformers(kind: ScheduleKind) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    expected = get_scheduler(f"{kind}_with_warmup" if kind == "constant" else kind, optimizer, 0, 20)
    for step in range(20):
        assert build_schedule(kind, 0, 20)(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        expected.step()


def test_biases_and_layer_norms_have_no_weight_decay(model: Any) -> None:
    groups = build_parameter_groups(model)
    *matrices, without_decay = ([id(parameter) for parameter in group["params"]] for group in groups)
    with_decay = [*matrices[0], *matrices[1]]
    optimizer = ADAMW(groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01, 0.0]
    for name, parameter in model.named_parameters():
        is_excluded = name.endswith("bias") or "norm" in name.lower()
        assert (id(parameter) in without_decay) is is_excluded, name
        assert (id(parameter) in with_decay) is not is_excluded, name


def test_the_hidden_matrices_are_all_matrices_except_embeddings_and_the_vocabulary_head(model: Any) -> None:
    embeddings, hidden, _ = build_parameter_groups(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)] for parameter in embeddings["params"]} == {
        "distilbert.embeddings.word_embeddings.weight",  # also the weights of the vocabulary head
        "distilbert.embeddings.position_embeddings.weight",
    }
    assert hidden["hidden"]
    assert len(hidden["params"]) == 6 * model.config.n_layers + 1
    assert any(parameter is model.vocab_transform.weight for parameter in hidden["params"])


@pytest.mark.parametrize("pattern", ["distilbert.transformer.layer.0", "*.layer.[0-3].*"])
def test_frozen_parameters_are_in_no_group(model: Any, pattern: str) -> None:
    layer = list(model.distilbert.transformer.layer[0].parameters())
    assert freeze_parameters(model, [pattern]) == sum(parameter.numel() for parameter in layer)
    trained = {id(parameter) for group in build_parameter_groups(model) for parameter in group["params"]}
    assert not trained & {id(parameter) for parameter in layer}
    assert len(trained) == len(list(model.parameters())) - len(layer)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["distilbert.embedings"], "Did you mean 'distilbert.embeddings'?"),
        (["distilbert.embeddings", "*.layers.*"], "matches no parameter"),
        (["*"], "would freeze all parameters"),
    ],
)
def test_invalid_patterns_are_errors(model: Any, patterns: list[str], message: str) -> None:
    with pytest.raises(WinnowError, match=message.replace("?", r"\?")) as raised:
        freeze_parameters(model, patterns)
    assert raised.value.key == "training.freeze"
