"""Tests with a tiny classifier that is built here."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

from winnow.errors import WinnowError
from winnow.filters import TextClassifier

VOCABULARY = ["[PAD]", "[UNK]", "good", "bad", "shoes", "are"]
TEXTS = ["shoes are good", "bad", None, "good good good are shoes are good shoes", "shoes are bad", "good"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("classifier")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(path)
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(VOCABULARY), dim=16, n_layers=1, n_heads=2, hidden_dim=32, id2label={0: "POOR", 1: "FINE"}
    )
    DistilBertForSequenceClassification(config).save_pretrained(path)
    return str(path)


def test_scores_match_the_model_for_any_batch_size(folder: str) -> None:
    model = DistilBertForSequenceClassification.from_pretrained(folder).eval()

    def alone(text: str) -> float:
        ids = torch.tensor([[VOCABULARY.index(word) for word in text.split()]])
        with torch.inference_mode():
            return float(model(input_ids=ids).logits.softmax(-1)[0, 1])

    expected = [None if text is None else round(alone(text), 5) for text in TEXTS]
    for size in (1, 2, 32):
        scores = TextClassifier(name=folder, label="FINE", batch_size=size).score(TEXTS)
        assert scores.to_pylist() == pytest.approx(expected, abs=2e-5)
    poor = TextClassifier(name=folder, label="POOR").score(TEXTS[:1])[0].as_py()
    assert poor == pytest.approx(1 - float(expected[0] or 0), abs=2e-5)


def test_the_signal_pickles_without_the_model_and_its_fingerprint_depends_on_content(folder: str) -> None:
    signal = TextClassifier(name=folder, label="FINE")
    signal.score(["good"])
    assert len(pickle.dumps(signal)) < 1_000
    assert signal.fingerprint() == TextClassifier(name=folder, label="FINE", at_least=0.9, batch_size=1).fingerprint()
    assert signal.fingerprint() != TextClassifier(name=folder, label="POOR").fingerprint()
    assert signal.thresholds() == {"at_least": 0.5, "at_most": None}


def test_an_unknown_label_or_model_is_an_error(folder: str, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"no label 'FIN'\. Did you mean 'FINE'") as caught:
        TextClassifier(name=folder, label="FIN").score(["good"])
    assert caught.value.key == "label"
    with pytest.raises(WinnowError, match="cannot load the classifier") as caught:
        TextClassifier(name=str(tmp_path), label="FINE").score(["good"])
    assert caught.value.key == "name"
