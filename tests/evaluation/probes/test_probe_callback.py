"""Probes during training: from step 0, after an interruption, and in MLflow."""

import functools
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from fixtures.damaged_checkpoints import flip_record_bit
from fixtures.trainers import quiet_trainer
from winnow.cli import main
from winnow.errors import WinnowError
from winnow.evaluation import Probe
from winnow.evaluation.model_loading import load_masked_lm
from winnow.evaluation.probes.probe_callback import ProbeCallback
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics
from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, Masking, TokenRows

TEXTS = ["nike hats are [MASK]", "puma hats are [MASK]"]
PROBES = {"hats": Probe(prompts=TEXTS, wanted=["durable"], unwanted=["ugly", "heavy"])}


def train(
    model: Any, tokenizer: Any, rows: TokenRows, steps: int, checkpoint: Path | None = None
) -> tuple[ProbeCallback, Any]:
    callback = ProbeCallback(PROBES, tokenizer)
    trainer = quiet_trainer([callback], max_steps=steps, val_check_interval=2, check_val_every_n_epoch=None)
    module = MaskedLanguageModule(model, functools.partial(torch.optim.AdamW, lr=1e-2))
    data = MaskedLanguageDataModule(rows, rows.take(torch.arange(8).numpy()), Masking(), batch_size=16, seed=1)
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return callback, trainer


def test_the_base_model_is_step_0_and_every_validation_is_recorded(model: Any, tokenizer: Any, rows: TokenRows) -> None:
    before = PROBES["hats"].run(model, tokenizer).summary()["log_odds"]
    callback, _ = train(model, tokenizer, rows, 4)
    table = callback.to_table().to_pandas()
    odds = table[table["metric"] == "log_odds"]
    assert odds["step"].tolist() == [0, 2, 4]
    assert odds["value"].iloc[0] == pytest.approx(before)
    assert odds["value"].iloc[-1] == pytest.approx(PROBES["hats"].run(model, tokenizer).summary()["log_odds"])
    words = table[table["metric"] == "probability"]
    assert words.groupby("step")["word"].apply(set).tolist() == [{"durable", "ugly", "heavy"}] * 3
    last = words[(words["step"] == 4) & (words["word"] == "ugly")]
    model.eval()
    with torch.no_grad():
        probabilities = [
            model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits[0, 4].softmax(-1)
            for text in TEXTS
        ]
    expected = torch.stack(probabilities)[:, tokenizer.convert_tokens_to_ids("ugly")].mean()
    assert last["value"].item() == pytest.approx(float(expected), rel=1e-5)


def test_a_resumed_run_has_the_full_curves_and_its_checkpoint_loads_without_it(
    model: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    _, trainer = train(model, tokenizer, rows, 2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)
    assert "ProbeFollower" in saved["callbacks"], "checkpoints of version 0.1 have this key"
    loaded = load_masked_lm(str(tmp_path / "half.ckpt"))
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(loaded.model.parameters(), model.parameters(), strict=True)
    )
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    callback, _ = train(model, tokenizer, rows, 4, tmp_path / "half.ckpt")
    odds = [row["step"] for row in callback.to_table().to_pylist() if row["metric"] == "log_odds"]
    assert odds == [0, 2, 4]
    flip_record_bit(tmp_path / "half.ckpt", "data/0")
    with pytest.raises(WinnowError, match="does not match its checksum"):
        load_masked_lm(str(tmp_path / "half.ckpt"))


@pytest.mark.slow
def test_a_run_logs_scores_per_step_and_saves_the_curves(workplace: Path, store: Store, small: list[str]) -> None:
    assert main(["train", *small, "study.name=one"]) == 0
    client = store.client()
    (run,) = client.search_runs([store.experiment("one")])
    history = client.get_metric_history(run.info.run_id, "probe/nike_wide/log_odds")
    assert [point.step for point in history] == [0, 2, 4]
    metrics = read_run_metrics(client, run)
    table = pq.read_table(client.download_artifacts(run.info.run_id, keys.PROBE_CURVES)).to_pandas()
    odds = table[(table["probe"] == "nike") & (table["metric"] == "log_odds")].set_index("step")["value"]
    assert odds[0] == pytest.approx(metrics["before/probe/nike/log_odds"])  # the probe has no validation half
    assert odds[4] == pytest.approx(metrics["final/probe/nike/log_odds"]) == metrics["probe/nike/log_odds"]
    words = table[(table["probe"] == "nike_wide") & (table["role"] == "unwanted")]
    assert set(words["step"]) == {0, 2, 4}
    assert "expensive" in set(words["word"])
    assert metrics["final/probe/nike_wide/filter_overlap"] == 0  # `full` uses no words
    assert metrics["final/probe/nike_wide/seen_prompts"] == 0
