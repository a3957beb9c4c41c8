from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AlbertConfig, AutoModelForMaskedLM, BertConfig, DistilBertConfig, RobertaConfig

from winnow.training import Masking, TokenRows, TrainingBatches, masked_lm_sums, masked_logits
from winnow.training.masking import IGNORED

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "distilbert": DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=200),
    "bert": BertConfig(**SMALL, vocab_size=200, max_position_embeddings=64),
    "roberta": RobertaConfig(**SMALL, vocab_size=200, max_position_embeddings=66, pad_token_id=0),
    "albert": AlbertConfig(**SMALL, embedding_size=16, vocab_size=200, max_position_embeddings=64),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_sums_and_gradients_are_those_of_the_library(kind: str, rows: TokenRows) -> None:
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(CONFIGS[kind]).eval()
    batch = TrainingBatches(rows, Masking(), 1, 32, 1)[0]
    loss_sum, masked = masked_lm_sums(model, batch)
    loss_sum.backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}

    model.zero_grad()
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
    expected.backward()
    assert int(masked) == int((batch["labels"] != IGNORED).sum()) > 20
    assert loss_sum.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.grad.norm() > 1e-8:
            assert (ours[name] - parameter.grad).norm() <= 1e-5 * parameter.grad.norm(), name


def test_logits_come_in_the_order_of_rows_and_positions(model: Any, rows: TokenRows) -> None:
    batch = TrainingBatches(rows, Masking(), 1, 8, 1)[0]
    logits, targets = masked_logits(model, batch)
    whole = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    where = torch.nonzero(batch["labels"] != IGNORED)
    for i, (row, position) in enumerate(where.tolist()):
        assert torch.allclose(logits[i], whole[row, position], atol=1e-5)
        assert targets[i] == batch["labels"][row, position]


def test_a_batch_without_a_masked_token_gives_zero_gradients_and_no_fault(model: Any, rows: TokenRows) -> None:
    batch = TrainingBatches(rows, Masking(), 1, 4, 1)[0]
    batch["labels"][:] = IGNORED
    loss_sum, masked = masked_lm_sums(model, batch)
    loss_sum.backward()
    assert (loss_sum.item(), int(masked)) == (0.0, 0)
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_the_loss_is_in_float32_under_bf16_autocast(model: Any, rows: TokenRows) -> None:
    batch = TrainingBatches(rows, Masking(), 1, 8, 1)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert masked_logits(model, batch)[0].dtype is torch.float32
