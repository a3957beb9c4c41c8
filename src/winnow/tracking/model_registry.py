"""Register a run's model in the MLflow model registry."""

from __future__ import annotations

import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.errors import WinnowError
from winnow.tracking.keys import ARM, MODEL_FOLDER, SEED, STUDY
from winnow.tracking.model_card import build_model_card
from winnow.tracking.run_queries import fetch_artifact
from winnow.tracking.run_references import resolve_run
from winnow.tracking.store import Store, silence_mlflow
from winnow.untrusted_text import check_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

REGISTERED_MODEL_FOLDER = "registered_model"
"""Artifact folder of a promoted run that contains the model in MLflow's format, ready for serving."""

SERVING_PACKAGES = ("torch", "transformers", "safetensors")
"""Packages that a served model requires, listed explicitly because MLflow would also infer torchvision."""


def register_model(store: Store, reference: str, alias: str | None = None, name: str | None = None) -> str:
    """Register a run's model in the MLflow model registry, with its model card as the description.

    Args:
        store: The store that contains the run.
        reference: The run, as in :func:`winnow.tracking.run_references.resolve_run`.
        alias: Alias of the new version, as in `models:/NAME@ALIAS`. If the alias already exists, it is moved to the
            new version. MLflow reserves names like `v2` for version numbers, so `v2` becomes `winnow-v2`.
        name: Name of the registered model; by default the name of the run's study.

    Returns:
        The model URI of the new version.

    Raises:
        WinnowError: If the run does not exist, did not finish, or has no saved model.
    """
    import mlflow.transformers
    import transformers
    from mlflow.exceptions import MlflowException

    _check_registry_names(alias, name)
    silence_mlflow()
    client = store.client()
    run = find_finished_run(client, reference)
    run_id = run.info.run_id
    name = name or run.data.tags.get(STUDY)
    with tempfile.TemporaryDirectory() as folder:
        model = fetch_model(client, run, Path(folder))
        card = build_model_card(client, run)
        mlflow.transformers.save_model(
            transformers.pipeline("fill-mask", str(model)),
            str(Path(folder) / REGISTERED_MODEL_FOLDER),
            pip_requirements=[f"{package}=={version(package)}" for package in SERVING_PACKAGES],
            metadata={"run_id": run_id},
        )
        client.log_artifacts(run_id, str(Path(folder) / REGISTERED_MODEL_FOLDER), REGISTERED_MODEL_FOLDER)
    try:
        client.create_registered_model(
            name, description="Models of one study, with one version per run. See each version's description."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {label: run.data.tags[tag] for label, tag in (("arm", ARM), ("seed", SEED), ("study", STUDY))}
    model_version = client.create_model_version(
        name, f"{run.info.artifact_uri}/{REGISTERED_MODEL_FOLDER}", run_id, tags=tags, description=card.text.strip()
    )
    if alias is None:
        return f"models:/{name}/{model_version.version}"
    alias = f"winnow-{alias}" if re.fullmatch(r"[vV]\d+", alias) else alias
    client.set_registered_model_alias(name, alias, model_version.version)
    return f"models:/{name}@{alias}"


def _check_registry_names(alias: str | None, name: str | None) -> None:
    """Check the names early, because the conversion of the model takes seconds.

    Raises:
        WinnowError: If MLflow would reject the alias or the name of the registered model.
    """
    if alias is not None and (not re.fullmatch(r"[\w-]{1,200}", alias, re.ASCII) or alias == "latest"):
        raise WinnowError(
            f"the alias {alias!r:.80} is not valid. Allowed: letters, digits, _ and -. MLflow reserves the alias "
            "latest. Choose another alias.",
            "alias",
        )
    if name is not None:
        try:
            check_name(name)
        except ValueError as error:
            raise WinnowError(f"the name {name!r:.100} is not valid. {error}.", "name") from error


def find_finished_run(client: MlflowClient, reference: str) -> Run:
    """Return the run that a reference refers to.

    Raises:
        WinnowError: If there is no such run, or if the run did not finish.
    """
    try:
        run = resolve_run(client, reference)
    except WinnowError as error:
        raise error.with_prefix("run") from error
    if run.info.status != "FINISHED":
        raise WinnowError(
            f"expected a finished run, but run {run.info.run_id} has status {run.info.status}. Choose a finished run.",
            "run",
        )
    return run


def fetch_model(client: MlflowClient, run: Run, folder: Path) -> Path:
    """Return the local path of a run's model, after downloading a remote model into `folder`.

    Raises:
        WinnowError: If the run has no saved model.
    """
    if ARM in run.data.tags and (model := fetch_artifact(client, run.info.run_id, MODEL_FOLDER, folder)):
        return model
    raise WinnowError(
        f"the run {run.info.run_id} ({run.info.run_name}) has no saved model. Choose a training run.", "run"
    )
