"""Models that others trained: found, loaded and checked, each fault told in words."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.training.models import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.data import Corpus

_PATIENCE_SECONDS = 10.0

_COUNT_FROM_PADDING = ("camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "xmod")
"""Model types whose positions start after the padding id, so that they read fewer tokens than they have positions."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Pretrained(Model):
    """A masked language model from a folder or from the Hugging Face Hub.

    Attributes:
        name: A folder that ``save_pretrained`` wrote, or a name on the Hub.
        revision: A branch, tag or commit on the Hub; give a commit to have the same weights for good.
        trust_remote_code: Run the code that comes with the model. Only for authors you trust.
    """

    name: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    trust_remote_code: bool = False

    def check(self) -> list[WinnowError]:
        """Return a fault if the name leads nowhere, or to something that is no masked language model."""
        try:
            read_config(self)
        except WinnowError as fault:
            return [fault]
        return []

    def tokenizer(self, corpus: Corpus, cache_dir: Path) -> PreTrainedTokenizerFast:
        """Return the model's own tokenizer; the corpus does not matter."""
        return load_tokenizer(self)

    def load(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
        """Return the model with the weights it came with."""
        return load_model(self, tokenizer)


def read_config(source: Pretrained) -> dict[str, Any]:
    """Find out whether the name leads to a masked language model, without loading weights.

    Returns:
        The model's configuration.

    Raises:
        WinnowError: With key ``name``.
    """
    from transformers import PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    address = _address(source)
    try:
        config, _ = PreTrainedConfig.get_config_dict(**address)
    except (OSError, ValueError) as fault:
        raise _fault(source, "has no readable `config.json`", fault) from fault
    kind: str | None = config.get("model_type")
    if kind is None:
        raise _fault(source, "has no `config.json` that names a type of model")
    remote = source.trust_remote_code and "AutoModelForMaskedLM" in config.get("auto_map", {})
    if not remote and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise _fault(source, f"is of type {kind!r}, which is not a masked language model")
    return dict(config)


def load_tokenizer(source: Pretrained) -> PreTrainedTokenizerFast:
    """Load the tokenizer that belongs to the model.

    Raises:
        WinnowError: There is none, it is not a fast one, or it has no mask token.
    """
    from transformers import AutoTokenizer

    config = read_config(source)
    try:
        with _quiet():
            loaded = AutoTokenizer.from_pretrained(trust_remote_code=source.trust_remote_code, **_address(source))
    except Exception as fault:
        raise _fault(source, "has no tokenizer that can be loaded", fault) from fault
    if not loaded.is_fast:
        raise _fault(source, "has a slow tokenizer only; Winnow needs a fast one (`tokenizer.json`)")
    if len(loaded) <= len(loaded.all_special_ids):
        raise _fault(source, "has no tokenizer file, or one that knows no word")
    if loaded.mask_token_id is None:
        raise _fault(source, "has a tokenizer without a mask token, so nothing can be masked")
    if loaded.pad_token_id is None:
        loaded.pad_token = loaded.eos_token or loaded.mask_token
    loaded.model_max_length = min(loaded.model_max_length, _longest_input(config))
    return loaded


def load_model(source: Pretrained, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Load the weights, and see that all are there and fit the tokenizer.

    Raises:
        WinnowError: With key ``name``.
    """
    import torch
    from transformers import AutoModelForMaskedLM

    read_config(source)
    try:
        # Missing weights are drawn before they are reported.
        with torch.random.fork_rng(devices=[]), _quiet():
            loaded, report = AutoModelForMaskedLM.from_pretrained(
                trust_remote_code=source.trust_remote_code,
                output_loading_info=True,
                dtype=torch.float32,
                **_address(source),
            )
    except Exception as fault:
        raise _fault(source, "cannot be loaded as a masked language model", fault) from fault
    if missing := sorted(report["missing_keys"]):
        raise _fault(
            source,
            f"lacks {len(missing)} weights of a masked language model ({', '.join(missing[:3])}, ...), which "
            "would be random; it was saved for another task",
        )
    rows, highest = loaded.get_input_embeddings().weight.shape[0], max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise _fault(source, f"has {rows} token embeddings, but its tokenizer gives ids up to {highest}")
    return loaded.eval()


def _longest_input(config: dict[str, Any]) -> int:
    """Return how many tokens a model can read, separators included; without bound where it does not say."""
    positions = int(config.get("max_position_embeddings") or sys.maxsize)
    if any(str(config.get("model_type")).endswith(kind) for kind in _COUNT_FROM_PADDING):
        positions -= int(config.get("pad_token_id", 1)) + 1
    return positions


def _address(source: Pretrained) -> dict[str, Any]:
    """Return the arguments that lead the library to the model without waiting for a Hub that is not there.

    Raises:
        WinnowError: The name is no folder, and the Hub has no such model or cannot be reached.
    """
    folder = Path(source.name).expanduser()
    if folder.is_dir():
        return {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    if source.name.startswith((".", "/", "~")) or source.name.count("/") > 1:
        raise _fault(source, "is not a folder")
    return {
        "pretrained_model_name_or_path": source.name,
        "revision": source.revision or "main",
        "local_files_only": not _on_the_hub(source),
    }


@functools.lru_cache(maxsize=8)
def _on_the_hub(source: Pretrained) -> bool:
    """Return whether the Hub has the model; if it cannot be reached, whether to take it from the local cache.

    Raises:
        WinnowError: The Hub has no such model, or it cannot be reached and the model is not in the cache.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(source.name, revision=source.revision, timeout=_PATIENCE_SECONDS)
    except HFValidationError as fault:
        raise _fault(source, "is neither a folder nor a name on the Hugging Face Hub", fault) from fault
    except Exception as fault:  # what a broken connection raises depends on the HTTP library below
        if isinstance(fault, HfHubHTTPError) and fault.response.status_code in (401, 403, 404):
            raise _fault(source, "is not a model that the Hugging Face Hub gives to you", fault) from fault
        if not isinstance(try_to_load_from_cache(source.name, "config.json", revision=source.revision), str):
            what = "is not in the local cache, and the Hugging Face Hub could not be reached"
            raise _fault(source, what, fault) from fault
        return False
    return True


def _fault(source: Pretrained, what: str, cause: Exception | None = None) -> WinnowError:
    because = f" ({str(cause).strip().splitlines()[0]})" if cause is not None and str(cause).strip() else ""
    return WinnowError(
        f"'{source.name}' {what}{because}. Give a local folder with a masked language model in `model.name`, "
        "as `save_pretrained` writes it, or use `model=scratch`.",
        key="name",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and load reports off the screen; what matters in them becomes an error."""
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.CRITICAL)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
