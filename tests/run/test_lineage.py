"""The data lineage of one run: training rows, removed rows with reasons, and environment."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.data.fingerprint import fingerprint
from winnow.tracking import Store, keys


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["nike_positive", "random_matched"])
def test_a_run_logs_every_stage_from_its_source_to_its_training_rows(
    workplace: Path, store: Store, small: list[str], arm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.tracking.run_lifecycle.SEND_INTERVAL_SECONDS", 0.05)
    assert main(["train", f"filter={arm}", "study.name=mine", *small]) == 0
    client = store.client()
    (run,) = client.search_runs([store.experiment("mine")])
    folder = Path(client.download_artifacts(run.info.run_id, "", str(workplace)))
    stages = json.loads((folder / keys.DATA_LINEAGE).read_text())["stages"]
    assert [stage["stage"] for stage in stages][:2] == ["source", "clean: read"]
    assert [stage["stage"] for stage in stages][-3:] == [
        "split",
        "verdicts of nike_positive",
        f"training rows of {arm}",
    ]
    train, kept = stages[-3]["rows"]["train"], stages[-1]["rows"]
    assert stages[-2]["rows"]["train"] == {"total": train, "kept": kept}

    removed = pq.read_table(folder / keys.REMOVED_ROWS)
    assert removed.num_rows == train - kept
    reasons = removed["reasons"].to_pylist()
    assert all(reasons)
    assert (arm == "random_matched") == (reasons == [["not drawn"]] * len(reasons))

    inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    held_out = pq.read_table(folder / keys.ROW_SCORES).to_pandas()
    test = held_out[(held_out.stage == "after") & (held_out.split == "test")]
    assert {"train", "validation", "test", "test/nike_positive/kept", "test/nike_positive/removed"} <= set(inputs)
    assert inputs["test"].digest == fingerprint(test.row_id.tolist())
    assert json.loads(inputs["train"].profile) == {"num_rows": kept}
    assert inputs["train"].digest == stages[-1]["fingerprint"]

    assert run.data.params["filter"] == f"winnow.filters.{'Filter' if arm == 'nike_positive' else 'RandomMatched'}"
    assert "| test/all/loss |" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["system/process_memory_mib"] > 50
    assert json.loads((folder / "environment/hardware.json").read_text())["memory_gib"] > 0
    for path in ("config/resolved.yaml", "config/overrides.txt", "environment/packages.txt"):
        assert (folder / path).stat().st_size > 10
