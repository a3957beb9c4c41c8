"""Load pretrained masked language models from a local folder or the Hugging Face Hub."""

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
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.data import Corpus

_HUB_TIMEOUT_SECONDS = 10.0

_MODEL_TYPES_WITH_POSITION_OFFSET = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "xmod",
)
"""Model types whose position ids start after the padding id, so the maximum input length is less than the number
of position embeddings."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Pretrained(Model):
    """A masked language model from a local folder or from the Hugging Face Hub.

    Attributes:
        name: A folder written by ``save_pretrained``, or the name of a model on the Hub.
        revision: A branch, tag or commit on the Hub. Only a commit guarantees that later runs load the same weights.
        trust_remote_code: Whether to run code from the model's repository. Enable it only for authors you trust.
    """

    name: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    trust_remote_code: bool = False

    def check(self) -> list[WinnowError]:
        """Return an error if the model does not exist or is not a masked language model."""
        try:
            read_model_config(self)
        except WinnowError as error:
            return [error]
        return []

    def tokenizer(self, corpus: Corpus, cache_dir: Path) -> PreTrainedTokenizerFast:
        """Return the model's tokenizer; the corpus is ignored."""
        return load_tokenizer(self)

    def load(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
        """Return the model with its pretrained weights; the seed is ignored."""
        return load_model(self, tokenizer)


def read_model_config(source: Pretrained) -> dict[str, Any]:
    """Return the configuration of a masked language model, without loading its weights.

    Raises:
        WinnowError: If the configuration cannot be read or the model is not a masked language model. The error's key is
            ``name``.
    """
    from transformers import PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    arguments = _build_location_arguments(source)
    try:
        config, _ = PreTrainedConfig.get_config_dict(**arguments)
    except (OSError, ValueError) as error:
        raise _build_model_error(source, "has no readable `config.json`", error) from error
    model_type: str | None = config.get("model_type")
    if model_type is None:
        raise _build_model_error(source, "has no `model_type` in its `config.json`")
    is_remote_code = source.trust_remote_code and "AutoModelForMaskedLM" in config.get("auto_map", {})
    if not is_remote_code and model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise _build_model_error(source, f"has the model type {model_type!r}, which is not a masked language model")
    return dict(config)


def load_tokenizer(source: Pretrained) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model.

    Raises:
        WinnowError: If the tokenizer is missing, is not a fast tokenizer, or has no mask token. The error's key is
            ``name``.
    """
    from transformers import AutoTokenizer

    config = read_model_config(source)
    try:
        with _silence_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                trust_remote_code=source.trust_remote_code, **_build_location_arguments(source)
            )
    except Exception as error:
        raise _build_model_error(source, "has no tokenizer that can be loaded", error) from error
    if not tokenizer.is_fast:
        raise _build_model_error(source, "has only a slow tokenizer, but Winnow requires a fast one (`tokenizer.json`)")
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise _build_model_error(source, "has no tokenizer file, or its vocabulary has only special tokens")
    if tokenizer.mask_token_id is None:
        raise _build_model_error(source, "has a tokenizer without a mask token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.mask_token
    tokenizer.model_max_length = min(tokenizer.model_max_length, _read_max_length(config))
    return tokenizer


def load_model(source: Pretrained, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Load a model, and check that it matches the tokenizer and that no weights are missing.

    Raises:
        WinnowError: If the model cannot be loaded or fails a check. The error's key is ``name``.
    """
    import torch
    from transformers import AutoModelForMaskedLM

    read_model_config(source)
    try:
        # transformers initializes missing weights randomly, so the global random state is restored afterwards.
        with torch.random.fork_rng(devices=[]), _silence_transformers():
            model, loading_info = AutoModelForMaskedLM.from_pretrained(
                trust_remote_code=source.trust_remote_code,
                output_loading_info=True,
                dtype=torch.float32,
                **_build_location_arguments(source),
            )
    except Exception as error:
        raise _build_model_error(source, "cannot be loaded as a masked language model", error) from error
    if missing_keys := sorted(loading_info["missing_keys"]):
        raise _build_model_error(
            source,
            f"lacks {len(missing_keys)} weights of a masked language model ({', '.join(missing_keys[:3])}, ...); it "
            "was saved for a different task",
        )
    num_embeddings, max_id = model.get_input_embeddings().weight.shape[0], max(tokenizer.get_vocab().values())
    if max_id >= num_embeddings:
        raise _build_model_error(
            source, f"has {num_embeddings} token embeddings, but its tokenizer has ids up to {max_id}"
        )
    if (name := find_non_finite_weight(model)) is not None:
        raise _build_model_error(source, f"has NaN or infinite weights in {name}")
    return model.eval()


def find_non_finite_weight(model: torch.nn.Module) -> str | None:
    """Return the name of a parameter that contains NaN or infinity, or ``None``.

    A model with such weights returns meaningless scores.
    """
    return next((name for name, weights in model.named_parameters() if not weights.isfinite().all()), None)


def _read_max_length(config: dict[str, Any]) -> int:
    """Return the maximum input length, including special tokens, or ``sys.maxsize`` if the configuration has none."""
    positions = int(config.get("max_position_embeddings") or sys.maxsize)
    if any(str(config.get("model_type")).endswith(model_type) for model_type in _MODEL_TYPES_WITH_POSITION_OFFSET):
        positions -= int(config.get("pad_token_id", 1)) + 1
    return positions


def _build_location_arguments(source: Pretrained) -> dict[str, Any]:
    """Return the ``from_pretrained`` arguments that locate a model.

    If the Hub cannot be reached, the arguments restrict transformers to the local cache.

    Raises:
        WinnowError: If the folder or the Hub model does not exist, or if the Hub cannot be reached and the model is not
            in the local cache.
    """
    folder = Path(source.name).expanduser()
    if folder.is_dir():
        return {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    if source.name.startswith((".", "/", "~")) or source.name.count("/") > 1:
        raise _build_model_error(source, "is not a folder")
    return {
        "pretrained_model_name_or_path": source.name,
        "revision": source.revision or "main",
        "local_files_only": not _is_on_hub(source),
    }


@functools.lru_cache(maxsize=8)
def _is_on_hub(source: Pretrained) -> bool:
    """Return whether the Hub can be reached and has the model; ``False`` if only the local cache has the model.

    Raises:
        WinnowError: If the model is not on the Hub, or if the Hub cannot be reached and the model is not in the local
            cache.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(source.name, revision=source.revision, timeout=_HUB_TIMEOUT_SECONDS)
    except HFValidationError as error:
        raise _build_model_error(source, "is neither a folder nor a name on the Hugging Face Hub", error) from error
    except Exception as error:  # the exception type of a failed connection depends on the HTTP library
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403, 404):
            raise _build_model_error(
                source, "does not exist on the Hugging Face Hub, or you have no access to it", error
            ) from error
        if not isinstance(try_to_load_from_cache(source.name, "config.json", revision=source.revision), str):
            problem = "is not in the local cache, and the Hugging Face Hub could not be reached"
            raise _build_model_error(source, problem, error) from error
        return False
    return True


def _build_model_error(source: Pretrained, problem: str, cause: Exception | None = None) -> WinnowError:
    detail = f" ({str(cause).strip().splitlines()[0]})" if cause is not None and str(cause).strip() else ""
    return WinnowError(
        f"'{source.name}' {problem}{detail}. Set `model.name` to the path of a local folder with a masked language "
        "model saved by `save_pretrained`, or use `model=scratch`.",
        key="name",
    )


@contextmanager
def _silence_transformers() -> Iterator[None]:
    """Silence the progress bars and load reports of transformers; callers raise their own errors."""
    from transformers.utils import logging as transformers_logging

    level, had_progress_bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if had_progress_bar:
            transformers_logging.enable_progress_bar()
