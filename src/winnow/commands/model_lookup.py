"""Find and load the models given on the command line as runs, checkpoints, folders or Hub names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError, WinnowErrors
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import fetch_artifact, read_text_artifact
from winnow.tracking.run_references import is_run_reference, resolve_run

if TYPE_CHECKING:
    from winnow.evaluation.model_loading import LoadedModel


@dataclass(frozen=True)
class ModelReference:
    """A reference to a model that has been found but not loaded.

    Attributes:
        label: The model's name in tables and figures.
        source: The folder, checkpoint or Hub name from which the model is loaded.
        run_id: The id of the run that trained the model; `None` unless the user gave a reference to a run.
        config_dict: The configuration of the run that trained the model, as a nested dict; `None` if it is unknown.
    """

    label: str
    source: str
    run_id: str | None = None
    config_dict: dict[str, Any] | None = None

    def load(self) -> LoadedModel:
        """Load the model and its tokenizer."""
        from winnow.evaluation.model_loading import load_masked_lm

        return load_masked_lm(self.source, self.label)


def resolve_models(names: Sequence[str], store: Store) -> list[ModelReference]:
    """Return a model reference for each name.

    Args:
        names: Run ids, id prefixes, `STUDY/ARM/SEED`, checkpoints, folders and Hub names, in any combination.
        store: The store that contains the runs. The store is opened only if `names` refers to a run.

    Raises:
        WinnowErrors: If `names` is empty or a run does not exist or has no saved model. All errors are reported
            together.
    """
    errors: list[WinnowError] = []
    models: list[ModelReference] = []
    for i, name in enumerate(names):
        if not name.strip():
            errors.append(
                WinnowError(
                    "expected the name of a model, got blank text. Add a name, or remove the entry.", f"models.{i}"
                )
            )
            continue
        try:
            models.append(
                _resolve_run(name, store)
                if is_run_reference(name)
                else ModelReference(_choose_label(name), _find_model_folder(name))
            )
        except WinnowError as error:
            errors.append(error.with_prefix(f"models.{i}"))
    if not names:
        errors.append(
            WinnowError(
                "expected at least one model, got none. Add a run id, STUDY/ARM/SEED, a checkpoint, a folder "
                "or a Hub name.",
                "models",
            )
        )
    if errors:
        raise WinnowErrors(errors)
    return _number_duplicates(models)


def load_model(model: ModelReference, position: int) -> LoadedModel:
    """Load and return a model.

    Raises:
        WinnowError: If the model cannot be loaded. The key of the error is the position of the model in `models`.
    """
    try:
        return model.load()
    except WinnowError as error:
        raise error.with_prefix(f"models.{position}") from error


def _resolve_run(reference: str, store: Store) -> ModelReference:
    from winnow.config import load_stored_config

    client = store.client()
    run = resolve_run(client, reference)
    run_id, tags = run.info.run_id, run.data.tags
    if tags.get(keys.KIND) == "study":
        raise WinnowError(
            f"'{run_id}' is the parent run of a study and has no model. Choose one of the study's training runs, which "
            "`winnow runs` lists."
        )
    model = fetch_artifact(client, run_id, keys.MODEL_FOLDER)
    if model is None:
        raise WinnowError(f"run '{run_id}' ({run.info.status}) has no saved model. Choose a finished run.")
    config_text = read_text_artifact(client, run_id, "config/resolved.yaml")
    config_dict = load_stored_config(config_text) if config_text else None
    label = f"{tags.get(keys.ARM, run.info.run_name)} seed {tags.get(keys.SEED, '?')}"
    return ModelReference(label, str(model), run_id, config_dict)


def _find_model_folder(name: str) -> str:
    """Return the folder `model` inside the folder of a run; return all other names unchanged."""
    folder = Path(name).expanduser()
    is_run_folder = (folder / keys.MODEL_FOLDER / "config.json").is_file() and not (folder / "config.json").exists()
    return str(folder / keys.MODEL_FOLDER) if is_run_folder else name


def _choose_label(name: str) -> str:
    path = Path(name).expanduser()
    if path.suffix == ".ckpt":
        return path.parent.resolve().name
    if path.is_dir():
        path = path.resolve()
        return path.parent.name if path.name == keys.MODEL_FOLDER else path.name
    return name


def _number_duplicates(models: Sequence[ModelReference]) -> list[ModelReference]:
    """Return the models with a number appended to each duplicate label, since labels must be unique in tables."""
    labels = [model.label for model in models]
    return [
        dataclasses.replace(model, label=f"{model.label} ({i + 1})") if labels.count(model.label) > 1 else model
        for i, model in enumerate(models)
    ]
