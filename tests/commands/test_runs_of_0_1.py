"""A study that Winnow 0.1 finished: its runs store only the settings of the user, and remain readable."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from winnow.cli import main
from winnow.config import builtin_config_folder
from winnow.run.log_run import flatten_scalars
from winnow.tracking import Store, keys

TINY = ["training.max_steps=3", "training.validate_every_steps=3", "evaluation.max_rows=24", "dataset.source.rows=900"]
ARMS = ["full", "nike_positive"]


def convert_to_0_1(store: Store, run: Any, overrides: list[str]) -> None:
    """Reduce a run to what Winnow 0.1 stored: the composed tree without defaults, and no version."""
    with initialize_config_dir(str(builtin_config_folder()), version_base="1.3"):
        arm, seed = run.data.tags[keys.ARM], run.data.tags[keys.SEED]
        forced = [f"++{text}" for text in overrides]
        tree: Any = OmegaConf.to_container(compose("train", [f"filter={arm}", f"seed={seed}", *forced]), resolve=True)
        filter_tree: Any = OmegaConf.to_container(compose("train", ["filter=nike_positive"]), resolve=True)
    tree["evaluation"]["slices"] = {"nike_positive": filter_tree["filter"]}
    client, run_id = store.client(), run.info.run_id
    client.log_text(run_id, yaml.safe_dump(tree, sort_keys=False), keys.RESOLVED_CONFIG)
    client.delete_tag(run_id, keys.WINNOW_VERSION)
    stored_keys = [key for key, _ in flatten_scalars(tree)]
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as database:
        placeholders = ", ".join("?" * len(stored_keys))
        database.execute(
            f"DELETE FROM params WHERE run_uuid = ? AND key NOT IN ({placeholders})", [run_id, *stored_keys]
        )


@pytest.mark.slow
def test_a_study_of_0_1_can_be_compared_exported_and_repeated_but_not_continued(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["study.name=old", *small, *TINY]
    study = ["train", "-m", f"filter={','.join(ARMS)}", "seed=1,2", *overrides]
    assert main(study) == 0
    client, experiment = store.client(), store.experiment("old")

    def runs(kind: str) -> list[Any]:
        return list(client.search_runs([experiment], f"tags.`{keys.KIND}` = '{kind}'"))

    for run in runs("cell"):
        convert_to_0_1(store, run, overrides)
    assert all("model.layers" in run.data.params and "model.heads" not in run.data.params for run in runs("cell"))
    assert not any(keys.WINNOW_VERSION in run.data.tags for run in runs("cell"))
    before = {run.info.run_id: run.data.metrics for run in client.search_runs([experiment])}

    capsys.readouterr()
    assert main(study) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert (
        "study.name: study 'old' was trained with Winnow 0.1. `winnow compare` and `winnow export` still read"
        in message
    )
    assert "choose another study.name" in message
    assert {run.info.run_id: run.data.metrics for run in client.search_runs([experiment])} == before

    assert main(["compare", "study=old"]) == 0
    assert main(["export", "old"]) == 0
    stored = yaml.safe_load((workplace / "outputs/old/export/configs/full-seed-1.yaml").read_text("utf-8"))
    assert stored["model"] == {"_target_": "winnow.training.Scratch", "layers": 1, "hidden_size": 32}

    capsys.readouterr()
    nike_run = next(run for run in runs("cell") if run.data.tags[keys.ARM] == "nike_positive")
    assert main(["rerun", nike_run.info.run_id]) == 0
    printed = capsys.readouterr().out
    (notice,) = [line for line in printed.splitlines() if "the defaults of this version are used for" in line]
    assert "dataset.source.seed" in notice
    assert "metrics are identical" in " ".join(printed.split())
