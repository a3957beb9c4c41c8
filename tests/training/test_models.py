"""Models from a folder and from scratch, and the errors of names without a usable model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from winnow.errors import WinnowError
from winnow.training import Pretrained, Scratch, tokenizer_fingerprint

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


@pytest.fixture
def folder(tmp_path: Path, model: Any, tokenizer: Any) -> Path:
    """Return a folder with a saved model and tokenizer."""
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def catch_error(call: Any) -> WinnowError:
    with pytest.raises(WinnowError) as caught:
        call()
    assert caught.value.key == "name"
    assert "model=scratch" in caught.value.message
    return caught.value


def test_scratch_has_the_configured_sizes(tokenizer: Any) -> None:
    model = Scratch(layers=3, hidden_size=24, heads=4, max_length=40, dropout=0.2).load(tokenizer, seed=1)
    config = model.config
    assert (config.n_layers, config.dim, config.n_heads, config.hidden_dim) == (3, 24, 4, 96)
    assert (config.max_position_embeddings, config.dropout, config.vocab_size) == (40, 0.2, len(tokenizer))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_scratch_weights_depend_only_on_the_seed(tiny: Scratch, tokenizer: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = tiny.load(tokenizer, seed=1)
    assert torch.equal(torch.rand(3), expected)
    second, other = tiny.load(tokenizer, seed=1), tiny.load(tokenizer, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.vocab_transform.weight, other.vocab_transform.weight)


def test_the_tokenizer_is_trained_once_and_loaded_from_the_cache(corpus: Any, tiny: Scratch, tmp_path: Path) -> None:
    first = tiny.tokenizer(corpus, tmp_path)
    (folder,) = (tmp_path / "tokenizer").iterdir()
    cached = tiny.tokenizer(corpus, tmp_path)
    assert [path.name for path in (tmp_path / "tokenizer").iterdir()] == [folder.name]
    assert tokenizer_fingerprint(first) == tokenizer_fingerprint(cached)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == first.get_vocab()
    assert cached.model_max_length == 64
    assert cached.tokenize("Nike running shoes") == ["nike", "running", "shoes"]


def test_heads_that_do_not_divide_the_hidden_size_are_an_error() -> None:
    with pytest.raises(WinnowError, match=r"heads: expected a divisor of hidden_size \(128\), got 3"):
        Scratch(heads=3)
    with pytest.raises(ValidationError, match="layers"):
        Scratch(layers=0)


def test_a_saved_model_is_loaded_unchanged(folder: Path, model: Any, corpus: Any, tmp_path: Path) -> None:
    source = Pretrained(str(folder))
    assert source.check() == []
    tokenizer = source.tokenizer(corpus, tmp_path)
    before = torch.random.get_rng_state()
    loaded = source.load(tokenizer, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not loaded.training
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, loaded.state_dict()[name]), name


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    source = Pretrained(str(tmp_path / "nowhere"))
    assert "is not a folder" in catch_error(lambda: source.tokenizer(None, tmp_path)).message
    assert len(source.check()) == 1


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (error,) = Pretrained(str(tmp_path / "empty")).check()
    assert "config.json" in error.message


def test_an_invalid_configuration_is_an_error(folder: Path) -> None:
    (folder / "config.json").write_text("{not json")
    (error,) = Pretrained(str(folder)).check()
    assert "no readable `config.json`" in error.message


def test_a_model_of_another_type_is_an_error(tmp_path: Path, folder: Path, tokenizer: Any) -> None:
    GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=100)).save_pretrained(tmp_path / "gpt2")
    source = Pretrained(str(tmp_path / "gpt2"))
    assert "'gpt2', which is not a masked language model" in source.check()[0].message
    catch_error(lambda: source.load(tokenizer, 0))


def test_a_model_without_a_masked_language_modeling_head_is_an_error(tmp_path: Path, tokenizer: Any) -> None:
    BertForSequenceClassification(BertConfig(**SMALL, vocab_size=100)).save_pretrained(tmp_path / "classifier")
    error = catch_error(lambda: Pretrained(str(tmp_path / "classifier")).load(tokenizer, 0))
    assert "lacks 6 weights" in error.message
    assert "cls.predictions" in error.message


def test_bert_and_roberta_models_are_loaded(tmp_path: Path, tokenizer: Any) -> None:
    BertForMaskedLM(BertConfig(**SMALL, vocab_size=100)).save_pretrained(tmp_path / "bert")
    RobertaForMaskedLM(RobertaConfig(**SMALL, vocab_size=100)).save_pretrained(tmp_path / "roberta")
    for name in ("bert", "roberta"):
        assert Pretrained(str(tmp_path / name)).load(tokenizer, 0).config.model_type == name


def test_damaged_weights_are_an_error(folder: Path, tokenizer: Any) -> None:
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert "cannot be loaded" in catch_error(lambda: Pretrained(str(folder)).load(tokenizer, 0)).message


def test_missing_weights_are_an_error(folder: Path, tokenizer: Any) -> None:
    (folder / "model.safetensors").unlink()
    catch_error(lambda: Pretrained(str(folder)).load(tokenizer, 0))


def test_a_tokenizer_without_a_mask_token_is_an_error(folder: Path, corpus: Any, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    (folder / "tokenizer_config.json").unlink()
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "nike": 1}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(folder)
    error = catch_error(lambda: Pretrained(str(folder)).tokenizer(corpus, tmp_path))
    assert "without a mask token" in error.message


def test_a_folder_without_a_tokenizer_is_an_error(folder: Path, corpus: Any, tmp_path: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    # Without these files the library creates a tokenizer with special tokens only.
    error = catch_error(lambda: Pretrained(str(folder)).tokenizer(corpus, tmp_path))
    assert "only special tokens" in error.message


def test_a_tokenizer_with_more_ids_than_embeddings_is_an_error(folder: Path, tmp_path: Path, corpus: Any) -> None:
    from winnow.training.wordpiece import train_wordpiece

    larger = train_wordpiece([f"{a}{b} {b}{a}" for a in "bcdfghjk" for b in "aeiouy"], 8192, 64)
    source = Pretrained(str(folder))
    error = catch_error(lambda: source.load(larger, 0))
    assert f"ids up to {len(larger) - 1}" in error.message


def test_the_maximum_length_of_roberta_excludes_the_padding_positions(
    tmp_path: Path, tokenizer: Any, corpus: Any
) -> None:
    RobertaForMaskedLM(RobertaConfig(**SMALL, vocab_size=100, pad_token_id=1)).save_pretrained(tmp_path / "roberta")
    tokenizer.save_pretrained(tmp_path / "roberta")
    settings = json.loads((tmp_path / "roberta" / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 10**30
    (tmp_path / "roberta" / "tokenizer_config.json").write_text(json.dumps(settings))
    assert Pretrained(str(tmp_path / "roberta")).tokenizer(corpus, tmp_path).model_max_length == 62


def run_without_network(code: str, hub: Path) -> list[str]:
    """Run code with an unreachable proxy, so that the Hub is unreachable on every machine; return the printed lines."""
    environment = {"HF_HOME": str(hub), "HTTPS_PROXY": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip().splitlines()


@pytest.mark.slow
def test_a_hub_name_without_network_is_a_quick_error(tmp_path: Path) -> None:
    code = """
import time
from winnow.training import Pretrained
start = time.monotonic()
(error,) = Pretrained("distilbert-base-uncased").check()
print(error)
print(time.monotonic() - start < 25)
"""
    message, is_quick = run_without_network(code, tmp_path)
    assert message.startswith(
        "name: 'distilbert-base-uncased' is not in the local cache, and the Hugging Face Hub could"
    )
    assert "local folder" in message
    assert "model=scratch" in message
    assert is_quick == "True"


@pytest.mark.slow
def test_a_cached_hub_model_needs_no_network(tmp_path: Path, folder: Path) -> None:
    cached = tmp_path / "hub" / "models--someone--small"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0123abc")
    shutil.copytree(folder, cached / "snapshots" / "0123abc")
    code = """
from winnow.training import Pretrained
source = Pretrained("someone/small")
print(source.check(), source.load(source.tokenizer(None, None), 0).config.model_type)
"""
    assert run_without_network(code, tmp_path) == ["[] distilbert"]


@pytest.mark.parametrize("name", ["not a model", "a/b/c", "~/nowhere"])
def test_an_invalid_name_is_an_error(name: str) -> None:
    (error,) = Pretrained(name).check()
    assert name in error.message
    assert error.key == "name"
