"""Interrupted training runs resume to bit-identical results, and no checkpoint is lost."""

import functools
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from fixtures.damaged_checkpoints import flip_record_bit
from fixtures.trainers import quiet_trainer
from winnow.errors import WinnowError
from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, Masking, Scratch, TokenRows
from winnow.training.checkpoint import AtomicCheckpointIO, LastCheckpoint, check_disk_space, load_checkpoint
from winnow.training.muon import MuonWithAdamW

STEPS, CHECKPOINT_EVERY = 13, 4


@pytest.fixture(autouse=True)
def default_sigint_handler() -> Iterator[None]:
    """Handle Ctrl-C; shells ignore SIGINT for test runners in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class RecordingLogger(pl.loggers.logger.DummyLogger):
    """Records the logged value of each metric and step."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[tuple[str, int], float] = {}

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.values |= {(name, step): value for name, value in metrics.items() if name != "epoch"}


class ActAtBatch(Callback):
    """Calls a function at the start of a batch, counted from the beginning of training."""

    def __init__(self, batch_index: int, action: Any) -> None:
        self.batch_index, self.action = batch_index, action

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch_index:
            self.action()


def crash() -> None:
    raise RuntimeError("power failure")


def send_signal(signum: int) -> Any:
    return lambda: os.kill(os.getpid(), signum)


ADAMW = functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01, fused=True)


def train(
    source: Scratch,
    tokenizer: Any,
    rows: TokenRows,
    path: Path,
    *callbacks: Any,
    accumulate: int = 1,
    optimizer: Any = ADAMW,
    **settings: Any,
) -> tuple[MaskedLanguageModule, RecordingLogger]:
    """Train like `winnow train`, from the checkpoint if it exists; a resumed run starts with other initial weights."""
    resumed = path.exists()
    torch.manual_seed(99 if resumed else 1)  # the global random state must not matter
    model = source.load(tokenizer, seed=7 if resumed else 0)
    module = MaskedLanguageModule(model, optimizer, warmup_fraction=0.25, seed=3)
    data = MaskedLanguageDataModule(rows.take(np.arange(50)), rows.take(np.arange(100, 140)), Masking(), 16, seed=3)
    logger = RecordingLogger()
    quiet_trainer(
        max_steps=STEPS,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=1.0,
        logger=logger,
        callbacks=[*callbacks, LastCheckpoint(path, CHECKPOINT_EVERY)],
        plugins=[AtomicCheckpointIO()],
        check_val_every_n_epoch=None,
        val_check_interval=CHECKPOINT_EVERY * accumulate,
        log_every_n_steps=3,
        **settings,
    ).fit(module, data, ckpt_path=path if resumed else None, weights_only=True)
    return module, logger


def assert_equal(actual: MaskedLanguageModule, expected: MaskedLanguageModule) -> None:
    assert actual.trainer.global_step == expected.trainer.global_step == STEPS
    assert actual.tokens_seen == expected.tokens_seen
    for name, weights in actual.model.state_dict().items():
        assert torch.equal(weights, expected.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("accumulate", "stop", "optimizer"),
    [
        *((accumulate, stop, ADAMW) for accumulate in (1, 3) for stop in ("SIGTERM", "SIGINT", "crash")),
        (1, "crash", MuonWithAdamW),
    ],
)
def test_a_run_interrupted_twice_resumes_bit_identically(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path, accumulate: int, stop: str, optimizer: Any
) -> None:
    assert tiny.dropout > 0
    settings = {"accumulate": accumulate, "optimizer": optimizer}
    uninterrupted, logger = train(tiny, tokenizer, rows, tmp_path / "uninterrupted.ckpt", **settings)
    path, values = tmp_path / "last.ckpt", {}
    # In the second epoch of the 50 rows and, with accumulated batches, between two of them.
    for batch_index in (accumulate * 5 + accumulate // 2, accumulate * 9 + accumulate // 2):
        action = crash if stop == "crash" else send_signal(getattr(signal, stop))
        with pytest.raises((SystemExit, RuntimeError)):
            train(tiny, tokenizer, rows, path, ActAtBatch(batch_index, action), CollectValues(values), **settings)
        step = batch_index // accumulate
        assert torch.load(path, weights_only=True)["global_step"] == (
            step // CHECKPOINT_EVERY * CHECKPOINT_EVERY if stop == "crash" else step + 1
        )
    resumed, _ = train(tiny, tokenizer, rows, path, CollectValues(values), **settings)
    assert_equal(resumed, uninterrupted)
    assert values == logger.values


class CollectValues(Callback):
    """Collects the logged values of several attempts."""

    def __init__(self, values: dict[tuple[str, int], float]) -> None:
        self.values = values

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.values |= trainer.logger.values

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        self.values |= trainer.logger.values


def test_no_checkpoint_is_written_between_accumulated_batches(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    """A resumed run is at a step with a checkpoint; its first batch does not complete the next step."""
    path = tmp_path / "last.ckpt"
    with pytest.raises(RuntimeError):
        train(tiny, tokenizer, rows, path, ActAtBatch(13, crash), accumulate=3)
    before = path.stat().st_mtime_ns
    with pytest.raises(RuntimeError):
        train(tiny, tokenizer, rows, path, ActAtBatch(14, crash), accumulate=3)
    assert path.stat().st_mtime_ns == before


def test_a_second_signal_stops_training_immediately(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    def send_twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(signum) for signum in signals]  # not necessarily the defaults: Ray installs its own
    with pytest.raises(SystemExit) as stopped:
        train(tiny, tokenizer, rows, tmp_path / "last.ckpt", ActAtBatch(1, send_twice))
    assert stopped.value.code == 143
    assert not (tmp_path / "last.ckpt").exists()
    assert [signal.getsignal(signum) for signum in signals] == before


def test_a_signal_in_the_last_step_still_writes_the_final_checkpoint(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        train(tiny, tokenizer, rows, tmp_path / "last.ckpt", ActAtBatch(STEPS - 1, send_signal(signal.SIGTERM)))
    final = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert final["complete"]
    assert final["global_step"] == STEPS


def test_a_damaged_checkpoint_is_an_error(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}}, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WinnowError, match=r"last\.ckpt is damaged.*study\.rerun=all"):
        load_checkpoint(path, model)


@pytest.mark.parametrize("name", ["data/0", "data/3", "data.pkl"])
def test_a_checkpoint_with_a_flipped_bit_is_an_error(model: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"model.{key}": weights for key, weights in model.state_dict().items()}}, path)
    assert load_checkpoint(path, model)
    flip_record_bit(path, name)
    with pytest.raises(WinnowError, match=r"last\.ckpt is damaged.*checksum.*Delete all checkpoints"):
        load_checkpoint(path, model)


def test_a_checkpoint_with_code_is_not_loaded(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "hook": print}, path)
    with pytest.raises(WinnowError, match="damaged"):
        load_checkpoint(path, model)


def test_a_checkpoint_of_another_model_is_an_error(tokenizer: Any, model: Any, tmp_path: Path) -> None:
    wider = Scratch(layers=1, hidden_size=64, heads=2, max_length=64).load(tokenizer, seed=0)
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"model.{name}": weights for name, weights in wider.state_dict().items()}}, path)
    with pytest.raises(
        WinnowError, match=r"to a different model: the weight \S+ is of shape .*64\) in the checkpoint, but .*32\)"
    ):
        load_checkpoint(path, model)


def test_too_little_disk_space_is_an_error_before_training(tmp_path: Path) -> None:
    with torch.device("meta"):
        huge = torch.nn.Linear(10_000_000, 10_000_000)
    with pytest.raises(WinnowError, match="GB of free space"):
        check_disk_space(tmp_path, huge)


def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"global_step": 4, "state_dict": {"weights": torch.ones(1000)}}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # longer writes fail
    try:
        with pytest.raises(WinnowError, match=r"checkpoint of step 8 cannot be written.*File too large"):
            AtomicCheckpointIO().save_checkpoint(
                {"global_step": 8, "state_dict": {"weights": torch.ones(50_000)}}, path
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(path, weights_only=True)["global_step"] == 4
    assert list(tmp_path.iterdir()) == [path]
