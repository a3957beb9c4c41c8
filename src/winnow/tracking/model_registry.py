"""A run's model beyond its run: in MLflow's registry, or on the Hub."""

from __future__ import annotations

import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.errors import WinnowError
from winnow.tracking.keys import ARM, MODEL, SEED, STUDY
from winnow.tracking.model_card import build_model_card
from winnow.tracking.query import fetch_artifact, find_run
from winnow.tracking.store import Store, silence_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

REGISTERED_MODEL_FOLDER = "registered_model"
"""Artifact folder of a promoted run: its model in MLflow's own form, with what it needs to be served."""

SERVING_PACKAGES = ("torch", "transformers", "safetensors")
"""Packages that a served model needs; MLflow's own guess would add torchvision."""


def promote(store: Store, run_id: str, alias: str | None = None, name: str | None = None) -> str:
    """Register a run's model in MLflow's registry, described by its model card.

    Args:
        store: Where the run is.
        run_id: The run.
        alias: What the new version is called by, as in `models:/NAME@ALIAS`; one that exists is moved. MLflow keeps
            names like `v2` for the numbers of versions, so such a one becomes `winnow-v2`.
        name: The registered model; left out, the run's study.

    Returns:
        The address of the new version, as MLflow loads it.

    Raises:
        WinnowError: There is no such run, it did not finish, or it kept no model.
    """
    import mlflow.transformers
    import transformers
    from mlflow.exceptions import MlflowException

    silence_mlflow()
    client = store.client()
    run = _finished(client, run_id)
    name = name or run.data.tags[STUDY]
    with tempfile.TemporaryDirectory() as folder:
        model = _model(client, run, Path(folder))
        card = build_model_card(client, run)
        mlflow.transformers.save_model(
            transformers.pipeline("fill-mask", str(model)),
            str(Path(folder) / REGISTERED_MODEL_FOLDER),
            pip_requirements=[f"{package}=={version(package)}" for package in SERVING_PACKAGES],
            metadata={"run_id": run_id},
        )
        client.log_artifacts(run_id, str(Path(folder) / REGISTERED_MODEL_FOLDER), REGISTERED_MODEL_FOLDER)
    try:
        client.create_registered_model(name, description="Models of one study, one version a run; see each version.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {short: run.data.tags[tag] for short, tag in (("arm", ARM), ("seed", SEED), ("study", STUDY))}
    made = client.create_model_version(
        name, f"{run.info.artifact_uri}/{REGISTERED_MODEL_FOLDER}", run_id, tags=tags, description=card.text.strip()
    )
    if alias is None:
        return f"models:/{name}/{made.version}"
    alias = f"winnow-{alias}" if re.fullmatch(r"[vV]\d+", alias) else alias
    client.set_registered_model_alias(name, alias, made.version)
    return f"models:/{name}@{alias}"


def push(store: Store, run_id: str, repository: str, private: bool = True) -> str:
    """Send a run's model to the Hub, with a model card that carries data, filter, scores and limits.

    Args:
        store: Where the run is.
        run_id: The run.
        repository: The name on the Hub, as OWNER/NAME; it is made where there is none.
        private: Whether a new repository is seen by its owner alone.

    Returns:
        The address of the commit.

    Raises:
        WinnowError: There is no such run, it did not finish, it kept no model, or the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    client = store.client()
    run = _finished(client, run_id)
    with tempfile.TemporaryDirectory() as folder:
        model = _model(client, run, Path(folder))
        build_model_card(client, run).save(model / "README.md")
        hub = HfApi(library_name="winnow")
        try:
            hub.create_repo(repository, private=private, exist_ok=True)
            told = f"{run.data.tags[ARM]}, seed {run.data.tags[SEED]}, of the study {run.data.tags[STUDY]}"
            sent = hub.upload_folder(repo_id=repository, folder_path=model, commit_message=f"Add the model of {told}")
        except HFValidationError as error:
            raise WinnowError(f"{repository!r} is no name for the Hub. Give it as OWNER/NAME.", "name") from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else None
            hint = " Log in first with: hf auth login" if status in (401, 403) else ""
            raise WinnowError(f"the Hub refuses: {str(error).splitlines()[0]}{hint}", "name") from error
        except (OSError, RuntimeError) as error:  # the Hub's client passes on what its HTTP library raises
            raise WinnowError(f"the Hub does not answer at {hub.endpoint}: {error}", "name") from error
    return str(sent.commit_url)


def _finished(client: MlflowClient, run_id: str) -> Run:
    run = find_run(client, run_id)
    if run is None:
        raise WinnowError(f"there is no run {run_id!r} in this store. Its page shows the whole id.", "run")
    if run.info.status != "FINISHED":
        raise WinnowError(f"the run {run_id} is {run.info.status}; only a finished one has a model to show.", "run")
    return run


def _model(client: MlflowClient, run: Run, folder: Path) -> Path:
    """Fetch a run's model into a folder."""
    if ARM in run.data.tags and (model := fetch_artifact(client, run.info.run_id, MODEL, folder)):
        return model
    raise WinnowError(f"the run {run.info.run_id} ({run.info.run_name}) kept no model. Name a cell's run.", "run")
