"""A training that was broken off ends as the unbroken one would have, and nothing that was finished is lost."""

import functools
import os
import resource
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from fixtures.trainers import quiet_trainer
from winnow.errors import WinnowError
from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, Masking, Scratch, TokenRows
from winnow.training.checkpoint import LastCheckpoint, WholeFiles, check_room, open_checkpoint

STEPS, PACE = 13, 4


@pytest.fixture(autouse=True)
def foreground() -> Iterator[None]:
    """Take Ctrl-C: a test runner in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Logged(pl.loggers.logger.DummyLogger):
    """Keeps what was logged at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[tuple[str, int], float] = {}

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.values |= {(name, step): value for name, value in metrics.items() if name != "epoch"}


class Breaks(Callback):
    """Does something at the start of a batch, counted from the beginning of the training."""

    def __init__(self, at: int, act: Any) -> None:
        self.at, self.act = at, act

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.at:
            self.act()


def killed() -> None:
    raise RuntimeError("the power went")


def send(signum: int) -> Any:
    return lambda: os.kill(os.getpid(), signum)


def train(
    source: Scratch, tokenizer: Any, rows: TokenRows, path: Path, *callbacks: Any, accumulate: int = 1, **settings: Any
) -> tuple[MaskedLanguageModule, Logged]:
    """Train as `winnow train` does, from the checkpoint where there is one; the model's first weights vary."""
    resumed = path.exists()
    torch.manual_seed(99 if resumed else 1)  # whatever else the process has done
    model = source.load(tokenizer, seed=7 if resumed else 0)
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01, fused=True)
    module = MaskedLanguageModule(model, optimizer, warmup_fraction=0.25, seed=3)
    data = MaskedLanguageDataModule(rows.take(np.arange(50)), rows.take(np.arange(100, 140)), Masking(), 16, seed=3)
    logged = Logged()
    quiet_trainer(
        max_steps=STEPS,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=1.0,
        logger=logged,
        callbacks=[*callbacks, LastCheckpoint(path, PACE)],
        plugins=[WholeFiles()],
        check_val_every_n_epoch=None,
        val_check_interval=PACE * accumulate,
        log_every_n_steps=3,
        **settings,
    ).fit(module, data, ckpt_path=path if resumed else None, weights_only=True)
    return module, logged


def assert_equal(one: MaskedLanguageModule, other: MaskedLanguageModule) -> None:
    assert one.trainer.global_step == other.trainer.global_step == STEPS
    assert one.tokens_seen == other.tokens_seen
    for name, weights in one.model.state_dict().items():
        assert torch.equal(weights, other.model.state_dict()[name]), name


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("stop", ["SIGTERM", "SIGINT", "killed"])
def test_a_training_broken_off_twice_ends_bit_for_bit_as_the_unbroken_one(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path, accumulate: int, stop: str
) -> None:
    assert tiny.dropout > 0
    whole, expected = train(tiny, tokenizer, rows, tmp_path / "whole.ckpt", accumulate=accumulate)
    path, values = tmp_path / "last.ckpt", {}
    # In the second pass over the 50 rows and, where batches are accumulated, between two of them.
    for at in (accumulate * 5 + accumulate // 2, accumulate * 9 + accumulate // 2):
        act = killed if stop == "killed" else send(getattr(signal, stop))
        with pytest.raises((SystemExit, RuntimeError)):
            train(tiny, tokenizer, rows, path, Breaks(at, act), Collect(values), accumulate=accumulate)
        step = at // accumulate
        assert torch.load(path, weights_only=True)["global_step"] == (
            step // PACE * PACE if stop == "killed" else step + 1
        )
    resumed, _ = train(tiny, tokenizer, rows, path, Collect(values), accumulate=accumulate)
    assert_equal(whole, resumed)
    assert values == expected.values


class Collect(Callback):
    """Gathers what several attempts log."""

    def __init__(self, values: dict[tuple[str, int], float]) -> None:
        self.values = values

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.values |= trainer.logger.values

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        self.values |= trainer.logger.values


def test_no_checkpoint_is_taken_between_accumulated_batches(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    """A resumed training is at a step that is due, and has not stepped yet after its first batch."""
    path = tmp_path / "last.ckpt"
    with pytest.raises(RuntimeError):
        train(tiny, tokenizer, rows, path, Breaks(13, killed), accumulate=3)
    before = path.stat().st_mtime_ns
    with pytest.raises(RuntimeError):
        train(tiny, tokenizer, rows, path, Breaks(14, killed), accumulate=3)
    assert path.stat().st_mtime_ns == before


def test_the_second_signal_stops_at_once(tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]  # Ray may have left its own here
    with pytest.raises(SystemExit) as stopped:
        train(tiny, tokenizer, rows, tmp_path / "last.ckpt", Breaks(1, twice))
    assert stopped.value.code == 143
    assert not (tmp_path / "last.ckpt").exists()
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_signal_in_the_last_step_loses_no_training(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        train(tiny, tokenizer, rows, tmp_path / "last.ckpt", Breaks(STEPS - 1, send(signal.SIGTERM)))
    left = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert left["complete"]
    assert left["global_step"] == STEPS


def test_a_damaged_checkpoint_is_told(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}}, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WinnowError, match=r"last\.ckpt is damaged.*study\.rerun=all"):
        open_checkpoint(path, model)


@pytest.mark.parametrize("name", ["data/0", "data/3", "data.pkl"])
def test_a_checkpoint_with_a_flipped_bit_is_refused(model: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"model.{key}": one for key, one in model.state_dict().items()}}, path)
    assert open_checkpoint(path, model)
    with zipfile.ZipFile(path) as archive:
        stored = next(info for info in archive.infolist() if info.filename.endswith(f"/{name}"))
        with archive.open(stored) as record:
            place = record._orig_compress_start + stored.file_size // 2  # type: ignore[attr-defined]
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(WinnowError, match=r"last\.ckpt is damaged.*checksum.*Delete the file"):
        open_checkpoint(path, model)


def test_a_checkpoint_that_would_run_code_is_not_opened(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "hook": print}, path)
    with pytest.raises(WinnowError, match="damaged"):
        open_checkpoint(path, model)


def test_a_checkpoint_of_another_model_is_told(tokenizer: Any, model: Any, tmp_path: Path) -> None:
    wider = Scratch(layers=1, hidden_size=64, heads=2, max_length=64).load(tokenizer, seed=0)
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"model.{name}": one for name, one in wider.state_dict().items()}}, path)
    with pytest.raises(
        WinnowError, match=r"of another model: its \S+ is of shape .*64\), and that of the model .*32\)"
    ):
        open_checkpoint(path, model)


def test_a_disk_too_small_is_told_before_any_work(tmp_path: Path) -> None:
    with torch.device("meta"):
        huge = torch.nn.Linear(10_000_000, 10_000_000)
    with pytest.raises(WinnowError, match="GB left"):
        check_room(tmp_path, huge)


def test_a_disk_that_fills_in_the_middle_of_a_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"global_step": 4, "state_dict": {"weights": torch.ones(1000)}}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # the system cuts off what is longer
    try:
        with pytest.raises(WinnowError, match=r"checkpoint of step 8 cannot be written.*File too large"):
            WholeFiles().save_checkpoint({"global_step": 8, "state_dict": {"weights": torch.ones(50_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(path, weights_only=True)["global_step"] == 4
    assert list(tmp_path.iterdir()) == [path]
