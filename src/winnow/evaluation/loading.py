"""Models to be evaluated, from wherever they lie: a folder, a checkpoint or the Hub."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ARCHITECTURE = "architecture"
"""Key of a checkpoint: the texts of the files that `save_pretrained` writes beside the weights, by name."""


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked: what it is called in tables, where it came from, and both its parts."""

    label: str
    source: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast


def load(source: str, label: str | None = None) -> Loaded:
    """Load a masked language model and its tokenizer.

    Args:
        source: A folder that ``save_pretrained`` wrote, a checkpoint that training left (``.ckpt``), or a name on the
            Hub.
        label: What it is called; the name of its folder where none is given.

    Raises:
        WinnowError: There is none, or it cannot be loaded as one.
    """
    from winnow.training import Pretrained, pretrained_models

    path = Path(source).expanduser()
    if path.suffix == ".ckpt":
        return _of_checkpoint(path, label or _named(path.parent))
    pretrained = Pretrained(source)
    try:
        tokenizer = pretrained_models.load_tokenizer(pretrained)
        model = pretrained_models.load_model(pretrained, tokenizer)
    except WinnowError as fault:
        told = fault.message.partition(". Give a local folder")[0]
        raise WinnowError(
            f"{told}. A model is an MLflow run id, a checkpoint (.ckpt), a folder that `save_pretrained` wrote, or a "
            "name on the Hugging Face Hub."
        ) from fault
    return Loaded(label or (_named(path) if path.is_dir() else source), source, model, tokenizer)


def architecture(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """Return what a checkpoint must hold beside the weights, so that it opens without the run that wrote it."""
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_text("utf-8") for file in sorted(Path(folder).iterdir())}


def _of_checkpoint(path: Path, label: str) -> Loaded:
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    from winnow.training import Pretrained, pretrained_models

    if not path.is_file():
        raise WinnowError(f"There is no checkpoint '{path}'.")
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        files, weights = saved[ARCHITECTURE], saved["state_dict"]
    except Exception as fault:  # what a broken file raises depends on where it breaks
        raise WinnowError(
            f"'{path}' is no checkpoint that Winnow can open ({type(fault).__name__}: {fault}). Give one that "
            "`winnow train` wrote, or a folder that `save_pretrained` wrote."
        ) from fault
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / Path(name).name).write_text(text, "utf-8")
        tokenizer = pretrained_models.load_tokenizer(Pretrained(folder))
        model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder))
    own = {name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")}
    model.load_state_dict(own)
    model.tie_weights()
    return Loaded(label, str(path), model.eval(), tokenizer)


def _named(folder: Path) -> str:
    """Return what a folder is called; cells keep their model in a folder `model`, which says nothing."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name
