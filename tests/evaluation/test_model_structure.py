"""The parameters in the structure tables add up to those of the model."""

from typing import Any

import pytest
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from winnow.evaluation.model_structure import list_components, list_modules

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


@pytest.mark.parametrize(
    "model",
    [
        BertForMaskedLM(BertConfig(**SMALL)),
        RobertaForMaskedLM(RobertaConfig(**SMALL)),
        DistilBertForMaskedLM(DistilBertConfig(vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=24)),
    ],
    ids=["bert", "roberta", "distilbert"],
)
def test_modules_and_components_add_up_to_the_model_with_tied_weights_counted_once(model: Any) -> None:
    total = sum(weights.numel() for weights in model.parameters())
    modules = list_modules(model)
    assert sum(row["parameters"] for row in modules) == total
    assert any("(tied)" in row["shapes"] for row in modules)
    embeddings, layers, head = list_components(model)
    assert [embeddings["kind"], layers["kind"], head["kind"]] == ["embeddings", "layer", "head"]
    assert embeddings["parameters"] + layers["parameters"] + head["parameters"] == total
    assert layers["repeats"] == 3
    assert layers["shapes"] == "2 heads of 8, width 16, inner 24"
    assert embeddings["shapes"] == "50 tokens x 16"
