"""Load a model for evaluation from a folder, a checkpoint or the Hugging Face Hub."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ARCHITECTURE_KEY = "architecture"
"""The checkpoint key that holds the contents of the configuration and tokenizer files, by file name."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer, ready for inference.

    Attributes:
        label: The model's name in tables and figures.
        source: The folder, checkpoint or Hub name from which the model was loaded.
        model: The masked language model.
        tokenizer: The model's tokenizer.
    """

    label: str
    source: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast


def load_masked_lm(source: str, label: str | None = None) -> LoadedModel:
    """Load a masked language model and its tokenizer.

    Args:
        source: A folder written by ``save_pretrained``, a training checkpoint (``.ckpt``), or a model name on the Hub.
        label: The model's name in tables; by default, the name of the model's folder or the Hub name.

    Raises:
        WinnowError: If the source does not exist or is not a masked language model.
    """
    from winnow.training import Pretrained, pretrained_models

    path = Path(source).expanduser()
    if path.suffix == ".ckpt":
        return _load_checkpoint(path, label or _derive_label(path.parent))
    model_source = Pretrained(source)
    try:
        tokenizer = pretrained_models.load_tokenizer(model_source)
        model = pretrained_models.load_model(model_source, tokenizer)
    except WinnowError as error:
        description = re.split(r"\. [^.]*`model\.name`", error.message, maxsplit=1)[0]
        raise WinnowError(
            f"{description}. Pass an MLflow run id, a checkpoint (.ckpt), a folder written by `save_pretrained`, or a "
            "name on the Hugging Face Hub."
        ) from error
    return LoadedModel(label or (_derive_label(path) if path.is_dir() else source), source, model, tokenizer)


def serialize_architecture(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """Return the text of the configuration and tokenizer files, by file name.

    A checkpoint that contains these files can be loaded without its run.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_text("utf-8") for file in sorted(Path(folder).iterdir())}


def _load_checkpoint(path: Path, label: str) -> LoadedModel:
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    from winnow.training import Pretrained, pretrained_models
    from winnow.training.checkpoint_checksums import verify_checksums

    if not path.is_file():
        raise WinnowError(f"the checkpoint '{path}' does not exist. Check the path.")
    try:
        verify_checksums(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        files, weights = checkpoint[ARCHITECTURE_KEY], checkpoint["state_dict"]
    except Exception as error:  # the exception type depends on how the file is damaged
        raise WinnowError(
            f"'{path}' cannot be loaded as a checkpoint ({type(error).__name__}: {error}). Pass a checkpoint written "
            "by `winnow train`, or a folder written by `save_pretrained`."
        ) from error
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                (Path(folder) / Path(name).name).write_text(text, "utf-8")
            tokenizer = pretrained_models.load_tokenizer(Pretrained(folder))
            model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder))
        model.load_state_dict({name[6:]: value for name, value in weights.items() if name.startswith("model.")})
    except Exception as error:  # the type of the exception depends on what is missing or has the wrong shape
        reason = " ".join(str(error).split())[:300]
        raise WinnowError(
            f"the checkpoint '{path}' is incomplete, or its weights do not match its configuration ({reason}). Pass "
            "another checkpoint, or a folder written by `save_pretrained`."
        ) from error
    _check_finite(model, path)
    model.tie_weights()
    return LoadedModel(label, str(path), model.eval(), tokenizer)


def _check_finite(model: PreTrainedModel, path: Path) -> None:
    from winnow.training import pretrained_models

    if (name := pretrained_models.find_non_finite_weight(model)) is not None:
        raise WinnowError(f"the checkpoint '{path}' has NaN or infinite weights in {name}. Pass another checkpoint.")


def _derive_label(folder: Path) -> str:
    """Return the name of a folder, or the name of its parent if the folder has the generic name ``model``."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name
