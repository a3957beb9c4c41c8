"""From what a user names on the command line to models that can be asked: runs, checkpoints, folders, Hub names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError, WinnowErrors
from winnow.tracking import Store, keys
from winnow.tracking.query import artifact_path, artifact_text, find_run

if TYPE_CHECKING:
    from winnow.evaluation.model_loading import LoadedModel

RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Contender:
    """A model that was named, found but not loaded yet.

    Attributes:
        label: What tables and figures call it.
        source: The folder, checkpoint or Hub name that it is loaded from.
        run_id: The run that trained it, where it was named by its run.
        tree: The configuration that this run was made by.
    """

    label: str
    source: str
    run_id: str | None = None
    tree: dict[str, Any] | None = None

    def load(self) -> LoadedModel:
        """Load the model and its tokenizer."""
        from winnow.evaluation.model_loading import load_masked_lm

        return load_masked_lm(self.source, self.label)


def find_contenders(names: Sequence[str], store: Store) -> list[Contender]:
    """Find every model that was named.

    Args:
        names: MLflow run ids, checkpoints, folders and names on the Hub, in any mixture.
        store: Where runs are kept; it is opened only if a run is named.

    Raises:
        WinnowErrors: All names that lead nowhere.
    """
    faults: list[WinnowError] = []
    found: list[Contender] = []
    for i, name in enumerate(names):
        try:
            found.append(_of_run(name, store) if RUN_ID.fullmatch(name) else Contender(_label(name), name))
        except WinnowError as error:
            faults.append(error.under(f"models.{i}"))
    if not names:
        faults.append(WinnowError("name at least one: a run id, a checkpoint, a folder or a Hub name.", "models"))
    if faults:
        raise WinnowErrors(faults)
    return _told_apart(found)


def load_contender(contender: Contender, place: int) -> LoadedModel:
    """Load one of the models; a fault tells its place among those named."""
    try:
        return contender.load()
    except WinnowError as error:
        raise error.under(f"models.{place}") from error


def _of_run(run_id: str, store: Store) -> Contender:
    import yaml

    client = store.client()
    run = find_run(client, run_id)
    if run is None:
        raise WinnowError(
            f"The store {store.uri} has no run '{run_id}'. `winnow ui` shows the runs; output_dir or tracking.uri "
            "points at another store."
        )
    tags = run.data.tags
    if tags.get(keys.KIND) == "study":
        raise WinnowError(f"'{run_id}' is a whole study. Name runs of its cells; `winnow ui` shows them below it.")
    model = artifact_path(client, run_id, keys.MODEL)
    if model is None:
        raise WinnowError(f"The run '{run_id}' ({run.info.status}) has kept no model. Name a run that has finished.")
    resolved = artifact_text(client, run_id, "config/resolved.yaml")
    tree = yaml.safe_load(resolved) if resolved else None
    label = f"{tags.get(keys.ARM, run.info.run_name)} seed {tags.get(keys.SEED, '?')}"
    return Contender(label, str(model), run_id, tree)


def _label(name: str) -> str:
    path = Path(name).expanduser()
    if path.suffix == ".ckpt":
        return path.parent.resolve().name
    if path.is_dir():
        path = path.resolve()
        return path.parent.name if path.name == keys.MODEL else path.name
    return name


def _told_apart(found: Sequence[Contender]) -> list[Contender]:
    """Number the labels that several models share, since tables name models by them."""
    labels = [one.label for one in found]
    return [
        Contender(
            f"{one.label} ({i + 1})" if labels.count(one.label) > 1 else one.label, one.source, one.run_id, one.tree
        )
        for i, one in enumerate(found)
    ]
