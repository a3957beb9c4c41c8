"""One run from the command line to the store."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from fixtures.tracked_runs import Metrics, Runs
from winnow.cli import main
from winnow.tracking import Store, keys


def test_a_run_is_logged_in_full_with_a_loadable_model(
    workplace: Path, small: list[str], store: Store, runs: Runs, metrics: Metrics
) -> None:
    assert main(["train", "filter=nike_positive", *small]) == 0
    (run,) = runs(study="scratchpad")
    assert run.info.status == "FINISHED"
    assert len(run.data.metrics) < 40, "MLflow shows one chart per metric"
    tags, values = run.data.tags, metrics(run)
    assert len(values) > 300
    assert not [name for name in run.data.metrics if name.startswith("before/")]
    assert (tags[keys.ARM], tags[keys.SEED], tags[keys.MAX_STEPS]) == ("nike_positive", "1", "4")
    for name in (keys.CELL_ID, keys.CORPUS, keys.TOKENIZER, keys.HELD_OUT, keys.PROBES, keys.VERDICTS):
        assert tags[name]
    for slice_name in ("all", "nike_positive/kept", "nike_positive/removed"):
        assert values[f"final/test/{slice_name}/loss"] != values[f"before/test/{slice_name}/loss"]
    assert values["final/tokens_seen"] > 0
    history = store.client().get_metric_history(run.info.run_id, "validation/loss")
    assert [metric.step for metric in history] == [2, 4]

    folder = Path(store.client().download_artifacts(run.info.run_id, "", str(workplace)))
    assert yaml.safe_load((folder / "config/resolved.yaml").read_text())["training"]["max_steps"] == 4
    assert "torch==" in (folder / "environment/packages.txt").read_text()
    assert tags[keys.NUMERICS_SUMMARY].startswith("32-true on cpu, oneDNN for ")
    assert json.loads((folder / keys.NUMERICS).read_text())["linear"] == "auto"
    rows = pq.read_table(folder / keys.ROW_SCORES).to_pandas()
    assert set(rows["stage"]) == {"before", "after", "unigram", "trigram"}
    after = rows[(rows["stage"] == "after") & (rows["split"] == "test")]
    assert after["loss_sum"].sum() / after["masked"].sum() == pytest.approx(values["final/test/all/loss"])
    prompts = pq.read_table(folder / keys.PROMPT_RESULTS).to_pandas()
    wide = prompts[(prompts["stage"] == "after") & (prompts["probe"] == "nike_wide")]
    assert set(wide["split"]) == {"validation", "test"}
    wide = wide[(wide["split"] == "test") & (wide["role"] == "subject")]
    assert wide["log_odds"].mean() == pytest.approx(values["final/probe/nike_wide/log_odds"])
    for stage in ("unigram", "trigram"):
        scored = rows[rows["stage"] == stage].reset_index(drop=True)
        trained = rows[rows["stage"] == "after"].reset_index(drop=True)
        assert scored[["split", "row_id", "masked"]].equals(trained[["split", "row_id", "masked"]])
        test_rows = scored[scored["split"] == "test"]
        loss = test_rows["loss_sum"].sum() / test_rows["masked"].sum()
        assert values[f"ngram/{stage}/loss"] == pytest.approx(loss)
        counted = prompts[(prompts["stage"] == stage) & (prompts["probe"] == "nike_wide")]
        counted = counted[(counted["split"] == "test") & (counted["role"] == "subject")]
        assert counted["prompt_id"].tolist() == wide["prompt_id"].tolist()
        assert counted["log_odds"].notna().all()
        assert counted["seen"].tolist() == wide["seen"].tolist()
    assert values["ngram/trigram/loss"] < values["ngram/unigram/loss"]
    kept = json.loads((folder / "filter/kept.json").read_text())
    summary = json.loads((folder / keys.FILTER_SUMMARY).read_text())
    assert len(kept) == summary["rows"]["train"]["kept"] == values["filter/kept"]

    from transformers import pipeline

    fills = pipeline("fill-mask", str(folder / keys.MODEL_FOLDER))("nike shoes are [MASK]")
    assert len(fills) == 5


@pytest.mark.slow
def test_masks_on_held_out_rows_are_the_same_for_every_arm_and_seed(
    workplace: Path, small: list[str], store: Store, runs: Runs
) -> None:
    for arguments in (["seed=1"], ["seed=2", "masking.rate=0.4"]):
        assert main(["train", *small, *arguments]) == 0
    first, second = (
        pq.read_table(store.client().download_artifacts(run.info.run_id, keys.ROW_SCORES, str(workplace))).to_pandas()
        for run in runs(study="scratchpad")
    )
    assert first["masked"].tolist() == second["masked"].tolist()
    assert first["loss_sum"].tolist() != second["loss_sum"].tolist()


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(workplace: Path, small: list[str], runs: Runs) -> None:
    for study in ("one", "two"):
        assert main(["train", *small, f"study.name={study}"]) == 0
    (first,), (second,) = runs(study="one"), runs(study="two")
    scores = [
        {name: value for name, value in run.data.metrics.items() if name.startswith("final/") and "seconds" not in name}
        for run in (first, second)
    ]
    assert scores[0] == scores[1]
    assert first.data.tags[keys.CELL_ID] == second.data.tags[keys.CELL_ID]


@pytest.mark.slow
@pytest.mark.parametrize("debug", ["fast_dev_run", "overfit_one_batch", "limit_batches", "profiler"])
def test_every_debug_configuration_runs(workplace: Path, small: list[str], debug: str) -> None:
    assert main(["train", f"debug={debug}", *small]) == 0
    if debug == "profiler":
        assert "run_training_batch" in (workplace / "outputs/debug/fit-profile.txt").read_text()


@pytest.mark.slow
def test_training_on_blocks(workplace: Path, small: list[str], runs: Runs) -> None:
    assert main(["train", "training.batching=blocks", "training.block_size=32", *small]) == 0
    assert runs(study="scratchpad")[0].info.status == "FINISHED"


@pytest.mark.slow
def test_an_overview_is_printed_before_training(
    workplace: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "filter=nike_positive", *small]) == 0
    printed = capsys.readouterr().out
    for word in ("corpus", "filter", "model", "budget", "evaluated on", "tracking"):
        assert word in printed
    assert "nike_positive: trains on" in printed


@pytest.mark.slow
def test_external_sets_are_evaluated_and_leakage_is_logged(
    workplace: Path, small: list[str], runs: Runs, metrics: Metrics
) -> None:
    (workplace / "news.csv").write_text("text\n" + "".join(f"the news of day {i} are good\n" for i in range(9)))
    external = ["+dataset/source@dataset.external.news=csv", "dataset.external.news.path=news.csv"]
    assert main(["train", *external, "dataset.external.news.text=[text]", *small]) == 0
    (run,) = runs(study="scratchpad")
    values = metrics(run)
    assert values["final/external/news/rows"] == 9
    assert values["final/external/news/loss"] != values["before/external/news/loss"]
    assert values["data/leakage/test/exact"] == values["data/leakage/external/near"] == 0
    assert (
        values["data/leakage/test/near"] == 0
    )  # each replaced word changes at least one of the six n-grams of a template sentence


@pytest.mark.slow
def test_a_run_without_mlflow_writes_plain_files(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "tracking=none", *small]) == 0
    assert not list(tmp_path.rglob("*.db"))
    (folder,) = (tmp_path / "outputs/runs/scratchpad").iterdir()
    lines = {path.name: path.read_text(encoding="utf-8").splitlines() for path in folder.glob("*.csv")}
    logged = {tuple(line.split(",")[1:3]) for line in lines["metrics.csv"]}
    assert {("4", "train/tokens_per_second"), ("2", "validation/loss"), ("0", "final/test/all/loss")} <= logged
    assert "seed,1" in lines["params.csv"]
    assert lines["tags.csv"][-2] == "status,FINISHED"
    assert (folder / "artifacts" / keys.ROW_SCORES).exists()
    assert (folder / "artifacts" / keys.MODEL_FOLDER / "model.safetensors").exists()
