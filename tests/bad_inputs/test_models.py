"""Checkpoints and model folders with missing, misshapen or meaningless weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.bad_inputs import BadInput, Reject
from winnow.evaluation.model_loading import ARCHITECTURE_KEY, load_masked_lm, serialize_architecture
from winnow.training import Scratch
from winnow.training.wordpiece import train_wordpiece

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "small"
    tokenizer: Any = train_wordpiece(["nike shoes are durable", "nike hats are ugly"], 200, 64)
    Scratch(layers=1, hidden_size=16, heads=2).load(tokenizer, 0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(model_folder: Path) -> dict[str, Any]:
    loaded = load_masked_lm(str(model_folder))
    weights = {f"model.{name}": value for name, value in loaded.model.state_dict().items()}
    return {"state_dict": weights, ARCHITECTURE_KEY: serialize_architecture(loaded.model, loaded.tokenizer)}


def first_weight(checkpoint: dict[str, Any]) -> str:
    return next(name for name in checkpoint["state_dict"] if "position_embeddings" in name)


def without_weight(checkpoint: dict[str, Any]) -> Any:
    missing = first_weight(checkpoint)
    return checkpoint | {
        "state_dict": {name: value for name, value in checkpoint["state_dict"].items() if name != missing}
    }


def with_weight(value: Any) -> Change:
    return lambda checkpoint: checkpoint | {"state_dict": checkpoint["state_dict"] | {first_weight(checkpoint): value}}


def with_nan(checkpoint: dict[str, Any]) -> Any:
    name = first_weight(checkpoint)
    return with_weight(torch.full_like(checkpoint["state_dict"][name], torch.nan))(checkpoint)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without_weight, "incomplete"),
        (with_weight(torch.zeros(2, 3)), "do not match"),
        (with_weight("text"), "do not match"),
        (with_nan, "NaN or infinite"),
        (lambda checkpoint: {"state_dict": checkpoint["state_dict"]}, "cannot be loaded"),
        (lambda checkpoint: checkpoint | {"state_dict": {}}, "incomplete"),
        (lambda checkpoint: checkpoint | {"state_dict": [1]}, "incomplete"),
        (lambda checkpoint: checkpoint | {ARCHITECTURE_KEY: {}}, "incomplete"),
        (lambda checkpoint: checkpoint | {ARCHITECTURE_KEY: {"config.json": "{"}}, "incomplete"),
        (lambda checkpoint: checkpoint | {ARCHITECTURE_KEY: "text"}, "incomplete"),
        (lambda checkpoint: [checkpoint], "cannot be loaded"),
    ],
)
def test_a_checkpoint(reject: Reject, tmp_path: Path, checkpoint: dict[str, Any], change: Change, text: str) -> None:
    torch.save(change(checkpoint), tmp_path / "last.ckpt")
    reject(BadInput(["fill", "nike shoes are [MASK]", str(tmp_path / "last.ckpt")], "models.0", text))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_a_checkpoint_that_is_not_one(reject: Reject, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    reject(BadInput(["fill", "nike shoes are [MASK]", str(tmp_path / "last.ckpt")], "models.0", "cannot be loaded"))


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("config.json", "{", "config.json"),
        ("config.json", "{}", "model_type"),
        ("config.json", json.dumps({"model_type": "gpt2"}), "not a masked language model"),
        ("config.json", json.dumps({"model_type": "distilbert", "n_layers": "x"}), "models.0"),
        ("tokenizer.json", "{", "tokenizer"),
        ("model.safetensors", "x", "cannot be loaded"),
        ("model.safetensors", "", "cannot be loaded"),
    ],
)
def test_a_model_folder(reject: Reject, tmp_path: Path, model_folder: Path, file: str, content: str, text: str) -> None:
    for source in model_folder.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / file).write_text(content, encoding="utf-8")
    reject(BadInput(["fill", "nike shoes are [MASK]", str(tmp_path)], "models.0", text))


def test_a_model_whose_weights_are_nan(reject: Reject, tmp_path: Path, model_folder: Path) -> None:
    loaded = load_masked_lm(str(model_folder))
    with torch.no_grad():
        next(loaded.model.parameters()).fill_(torch.nan)
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    reject(BadInput(["fill", "nike shoes are [MASK]", str(tmp_path)], "models.0", "NaN or infinite"))
    arguments = ["evaluate", str(tmp_path), "probe=[nike]"]
    reject(BadInput(arguments, "models.0", "NaN or infinite"))
