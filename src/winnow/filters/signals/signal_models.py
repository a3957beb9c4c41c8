"""Tokenizers and models that a signal reads, loaded once a process and never part of the signal itself."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from winnow.errors import WinnowError

_WEIGHTS_AND_WORDS = ("*.json", "*.txt", "*.model", "*.safetensors")


def pretrained_settings(name: str, revision: str | None = None) -> dict[str, Any]:
    """Return what names a tokenizer or model: of a folder its content, of the Hub its name and revision."""
    if not Path(name).is_dir():
        return {"name": name, "revision": revision}
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(one for pattern in _WEIGHTS_AND_WORDS for one in Path(name).glob(pattern)):
        with path.open("rb") as stream:
            digest.update(f"{path.name}:{hashlib.file_digest(stream, hashlib.blake2b).hexdigest()}".encode())
    return {"content": digest.hexdigest()}


@lru_cache(maxsize=4)
def load_tokenizer(name: str, revision: str | None = None, key: str = "tokenizer") -> Any:
    """Return a tokenizer of the Hub or of a folder.

    Raises:
        WinnowError: It cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as fault:
        raise _unloadable("tokenizer", name, key, fault) from fault


@lru_cache(maxsize=2)
def load_classifier(name: str, revision: str | None, device: str) -> Any:
    """Return a sequence classification model in evaluation mode, on its device.

    Raises:
        WinnowError: It cannot be loaded.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        model = AutoModelForSequenceClassification.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as fault:
        raise _unloadable("classifier", name, "name", fault) from fault
    return model.to(device).eval()


def _unloadable(what: str, name: str, key: str, fault: Exception) -> WinnowError:
    reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
    return WinnowError(
        f"Cannot load the {what} '{name}': {reason}. Give the name of one on the Hub, or the folder of a copy.", key=key
    )
