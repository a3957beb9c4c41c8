"""Load tokenizers and models, which all signals in a process share through a cache."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from winnow.errors import WinnowError

_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")


def pretrained_settings(name: str, revision: str | None = None) -> dict[str, Any]:
    """Return settings that identify a tokenizer or model: a hash of the local files, or the Hub name and revision."""
    if not Path(name).is_dir():
        return {"name": name, "revision": revision}
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for pattern in _MODEL_FILES for path in Path(name).glob(pattern)):
        with path.open("rb") as stream:
            digest.update(f"{path.name}:{hashlib.file_digest(stream, hashlib.blake2b).hexdigest()}".encode())
    return {"content": digest.hexdigest()}


@lru_cache(maxsize=4)
def load_tokenizer(name: str, revision: str | None = None, key: str = "tokenizer") -> Any:
    """Load a tokenizer from the Hub or from a local folder.

    Raises:
        WinnowError: If the tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _loading_error("tokenizer", name, key, error) from error


@lru_cache(maxsize=2)
def load_classifier(name: str, revision: str | None, device: str) -> Any:
    """Load a sequence classification model onto a device, in evaluation mode.

    Raises:
        WinnowError: If the model cannot be loaded.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        model = AutoModelForSequenceClassification.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _loading_error("classifier", name, "name", error) from error
    return model.to(device).eval()


def _loading_error(kind: str, name: str, key: str, error: Exception) -> WinnowError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return WinnowError(
        f"cannot load the {kind} '{name}': {reason}. Pass the name of a {kind} on the Hub, or the path of a "
        "local folder.",
        key=key,
    )
