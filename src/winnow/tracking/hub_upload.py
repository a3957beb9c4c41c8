"""Upload the models of runs to the Hugging Face Hub, with model cards that link to each other."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError
from winnow.tracking.keys import ARM, DECLARATION, SEED, STUDY
from winnow.tracking.model_card import RelatedModel, build_model_card
from winnow.tracking.model_registry import fetch_model, find_finished_run
from winnow.tracking.run_queries import read_json_artifact
from winnow.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def push_to_hub(store: Store, references: Sequence[str], repository: str, private: bool = True) -> list[str]:
    """Upload the models of one or several runs to the Hugging Face Hub, with model cards.

    Several runs must be arms of one study with the same seed. The model of each arm is uploaded to its own repository,
    ``OWNER/NAME-ARM``, and its card links to the other repositories.

    Args:
        store: The store that contains the runs.
        references: The runs, as in :func:`winnow.tracking.run_references.resolve_run`.
        repository: The repository as OWNER/NAME; it is created if it does not exist.
        private: Whether to make a newly created repository private.

    Returns:
        The URL of each commit.

    Raises:
        WinnowError: If a run does not exist, did not finish, or has no saved model, if the runs do not belong together,
            or if an upload fails. Everything except the uploads is checked before the first upload.
    """
    _check_repository_name(repository)
    client = store.client()
    runs = [find_finished_run(client, reference) for reference in references]
    _check_related(runs)
    names = [repository] if len(runs) == 1 else [f"{repository}-{_to_name(run.data.tags[ARM])}" for run in runs]
    for name in names:
        _check_repository_name(name)
    models = [
        RelatedModel(name, run.data.tags.get(ARM, ""), _describe_role(client, run))
        for name, run in zip(names, runs, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        folders = [fetch_model(client, run, Path(tempfile.mkdtemp(dir=folder))) for run in runs]
        for model, run, path in zip(models, runs, folders, strict=True):
            others = [other for other in models if other is not model]
            build_model_card(client, run, others).save(path / "README.md")
        return [_upload(run, path, name, private) for run, path, name in zip(runs, folders, names, strict=True)]


def _upload(run: Run, folder: Path, repository: str, private: bool) -> str:
    """Upload the files of a folder and return the URL of the commit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    hub = HfApi(library_name="winnow")
    tags = run.data.tags
    message = f"Add the model of {tags[ARM]}, seed {tags[SEED]}, of the study {tags[STUDY]}"
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=message).commit_url)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        is_denied = status in (401, 403)
        fix = "Log in with: hf auth login" if is_denied else "Check the repository name and your permissions."
        raise WinnowError(f"the Hub rejected the upload ({str(error).splitlines()[0]}). {fix}", "name") from error
    except Exception as error:  # the Hub client does not wrap the exceptions of its HTTP library
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WinnowError(
            f"no response from the Hub at {hub.endpoint} ({reason}). Check the network and try again.", "name"
        ) from error


def _check_related(runs: Sequence[Run]) -> None:
    """Raise `WinnowError` if several runs are not arms of one study with the same seed."""
    if len(runs) == 1:
        return
    for tag, label in ((STUDY, "study"), (SEED, "seed")):
        values = list(dict.fromkeys(run.data.tags.get(tag, "none") for run in runs))
        if len(values) > 1:
            raise WinnowError(
                f"expected runs with the same {label}, got {', '.join(values)}. Choose arms of one study with the same "
                "seed, or upload each run alone.",
                "run",
            )
    arms = [run.data.tags.get(ARM, "none") for run in runs]
    if repeated := sorted({arm for arm in arms if arms.count(arm) > 1}):
        raise WinnowError(f"the arm {repeated[0]} was given twice. Remove one of the runs.", "run")


def _describe_role(client: MlflowClient, run: Run) -> str:
    """Return the role of a run's arm in its study, or an empty string if the study has no declaration."""
    parent = run.data.tags.get("mlflow.parentRunId")
    declaration: Mapping[str, Any] = read_json_artifact(client, parent, DECLARATION) if parent else {}
    arm = run.data.tags.get(ARM)
    if not declaration:
        return ""
    if arm == declaration.get("baseline"):
        return "v1, trained on all rows"
    if arm in {declaration.get("control"), *(declaration.get("controls") or {}).values()}:
        return "control, trained on as many randomly chosen rows as the filter keeps"
    return "v2, trained on the rows that the filter keeps"


def _to_name(arm: str) -> str:
    """Return an arm's name as a part of a repository's name.

    >>> _to_name("cheerful-mood.at_least-0.4"), _to_name("a--b.")
    ('cheerful-mood.at_least-0.4', 'a-b')
    """
    return re.sub(r"([-.])[-.]+", r"\1", re.sub(r"[^\w.-]", "-", arm, flags=re.ASCII)).strip("-.")


def _check_repository_name(repository: str) -> None:
    """Check the name of a repository before the run is read.

    Raises:
        WinnowError: If the name is not OWNER/NAME.
    """
    is_valid = re.fullmatch(r"([\w.-]+/)?[\w.-]+", repository, re.ASCII) and len(repository) <= 96
    if (
        not is_valid
        or any(text in repository for text in ("--", ".."))
        or re.search(r"(^|/)[.-]|[.-](/|$)", repository)
    ):
        raise WinnowError(
            f"expected a repository as OWNER/NAME, got {repository!r:.100}. Use a name such as alice/my-model.", "name"
        )
