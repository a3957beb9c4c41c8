"""A config file cannot permit code to run, and printing a configuration constructs and imports nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from winnow.cli import main
from winnow.config import TrainConfig, compose_cells, construct, restore_cell
from winnow.config.permissions import REFUSED_PACKAGES, check_packages
from winnow.errors import WinnowErrors

ROOT = Path(__file__).parents[2]
TRUST = "model.trust_remote_code"
EVIL = """
from pathlib import Path

Path("executed").write_text("imported")

from winnow.filters import Signal

class Signal(Signal):
    def __init__(self):
        Path("executed").write_text("constructed")
    settings = score = keep = lambda *_: None
"""
SIGNAL = "filter:\n  signals:\n    evil: {_target_: evil_package.Signal}\n  keep: nike & evil\n"


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an importable package that records each import and each construction."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "evil_package.py").write_text(EVIL, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil_package", raising=False)
    return tmp_path


def write_experiment(folder: Path, text: str) -> None:
    (folder / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    header = "# @package _global_\ndefaults:\n  - override /filter: nike_positive\n"
    (folder / "conf" / "experiment" / "shared.yaml").write_text(header + text, encoding="utf-8")


def write_settings(folder: Path, text: str) -> None:
    (folder / "home" / "winnow").mkdir(parents=True, exist_ok=True)
    (folder / "home" / "winnow" / "settings.yaml").write_text(text, encoding="utf-8")


def read_errors(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("allow_targets: [evil_package]\n" + SIGNAL, "allow_targets"),
        ("allow_targets: evil_package\n" + SIGNAL, "allow_targets"),
        ("hydra: {mode: MULTIRUN, sweeper: {params: {allow_targets: '[evil_package]'}}}\n" + SIGNAL, "allow_targets"),
        ("hydra: {mode: MULTIRUN, sweeper: {params: {+allow_targets: '[evil_package]'}}}\n" + SIGNAL, "allow_targets"),
        (SIGNAL, "filter.signals.evil._target_"),
        ("allow_targets: [subprocess]\noptimizer: {_target_: subprocess.Popen}\n", "optimizer._target_"),
        ("dataset: {source: {_target_: os.system, command: touch executed}}\n", "dataset.source._target_"),
        ("model: {_target_: winnow.data.cache.shutil.rmtree, path: conf}\n", "model._target_"),
        ("trainer: {profiler: {_target_: subprocess.Popen, args: [touch, executed]}}\n", "trainer.profiler._target_"),
        ("model: {_target_: winnow.training.Pretrained, name: x, trust_remote_code: true}\n", TRUST),
        ("model: {_target_: winnow.training.Pretrained, name: x, trust_remote_code: 'yes'}\n", TRUST),
        ("hydra: {mode: MULTIRUN, sweeper: {params: {model.trust_remote_code: 'true'}}}\n", TRUST),
    ],
)  # fmt: skip
def test_a_config_file_cannot_permit_code(
    shared: Path, capsys: pytest.CaptureFixture[str], text: str, key: str
) -> None:
    write_experiment(shared, text)
    assert main(["train", "experiment=shared", "--cfg"]) == 1
    assert f"winnow: {key}: " in read_errors(capsys)
    assert not (shared / "executed").exists()
    assert not (shared / "outputs").exists()
    assert "evil_package" not in sys.modules


def test_a_study_whose_config_file_permits_code_does_not_start(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_experiment(shared, "allow_targets: [evil_package]\n" + SIGNAL)
    assert main(["train", "-m", "experiment=shared", "seed=1,2"]) == 1
    assert "allow_targets=[PACKAGE] on the command line" in read_errors(capsys)
    assert not (shared / "executed").exists()
    assert not (shared / "outputs").exists()


def test_the_command_line_permits_a_package(shared: Path) -> None:
    write_experiment(shared, SIGNAL)
    (cell,), _ = compose_cells("train", TrainConfig, ["experiment=shared", "allow_targets=[evil_package]"])
    assert cell.config.allow_targets == ["evil_package"]
    assert (shared / "executed").read_text() == "imported", "composing must not construct the class"
    construct(cell.config.filter, "filter", allow=cell.config.allow_targets)
    assert (shared / "executed").read_text() == "constructed"


def test_the_settings_file_of_the_user_permits_code(shared: Path) -> None:
    model = "model: {_target_: winnow.training.Pretrained, name: a/b, trust_remote_code: true}"
    write_experiment(shared, SIGNAL + model)
    write_settings(shared, "allow_targets: [evil_package]\ntrust_remote_code: [a/b]\n")
    remove = ["~model.layers", "~model.hidden_size", "~model.heads", "~model.vocabulary"]
    known = yaml.safe_load((ROOT / "conf/model/scratch.yaml").read_text(encoding="utf-8"))
    (cell,), _ = compose_cells(
        "train", TrainConfig, ["experiment=shared", *(text for text in remove if text[7:] in known)]
    )
    assert cell.config.allow_targets == ["evil_package"]
    assert cell.config.model["trust_remote_code"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow_targets: [subprocess]", "allow_targets: 'subprocess' is never allowed"),
        ("allow_targets: mine", "settings.yaml: allow_targets: expected a list of names"),
        ("allow_target: [mine]", "settings.yaml: allow_target: unknown key"),
        ("- a", "settings.yaml: expected a mapping with the keys allow_targets and trust_remote_code"),
        ("[", "settings.yaml: cannot read the file"),
        ("a: !!python/object/apply:os.system ['touch executed']", "settings.yaml: cannot read the file"),
    ],
)
def test_an_invalid_settings_file_is_an_error(
    shared: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    write_settings(shared, text)
    assert main(["train", "--cfg"]) == 1
    assert message in read_errors(capsys)
    assert not (shared / "executed").exists()


@pytest.mark.parametrize(
    "override",
    ["allow_targets=evil_package", "+allow_targets.0=evil_package", "~allow_targets", "allow_targets=[[a]]",
     "allow_targets=[${study.name}]", "allow_targets=[a],[b]"],
)  # fmt: skip
def test_only_a_list_of_packages_is_accepted(capsys: pytest.CaptureFixture[str], override: str) -> None:
    assert main(["train", "--cfg", override]) == 1
    assert "winnow: allow_targets: " in read_errors(capsys)


def test_the_standard_library_is_refused() -> None:
    refused = ["os", "subprocess", "builtins", "importlib", "pickle", "shutil", "os.path", "joblib", "sys", "ctypes"]
    assert [error.key for error in check_packages(refused)] == ["allow_targets"] * len(refused)
    assert check_packages(["my_package", "team.signals"]) == []
    for name in ("os", "pickle", "joblib"):
        with pytest.raises(WinnowErrors, match="is never allowed"):
            construct({"_target_": f"{name}.anything"}, "x", allow=[name])
    assert "collections" in REFUSED_PACKAGES


def test_a_stored_configuration_permits_nothing(shared: Path) -> None:
    write_experiment(shared, SIGNAL)
    (cell,), _ = compose_cells("train", TrainConfig, ["experiment=shared", "allow_targets=[evil_package]"])
    assert cell.config_dict["allow_targets"] == ["evil_package"]
    with pytest.raises(WinnowErrors, match="is not on the list of allowed targets"):
        restore_cell(cell.config_dict, [], TrainConfig)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("+trainer.profiler={_target_: pytorch_lightning.loggers.CSVLogger, save_dir: made}", "cannot be used"),
        ("+trainer.profiler={_target_: pytorch_lightning.Trainer}", "profilers.profiler.Profiler|profilers.Profiler"),
        (
            "+trainer.limit_val_batches={_target_: pytorch_lightning.profilers.SimpleProfiler}",
            "a number, a text, a list or a mapping",
        ),
        ("+optimizer.betas=[{_target_: winnow.filters.Full}]", "a number, a text, a list or a mapping"),
        ("dataset.source={_target_: winnow.filters.Full}", "winnow.data.Source"),
        ("+dataset.validation={_target_: winnow.tracking.Store, uri: 'sqlite:///made.db'}", "winnow.data.Source"),
        ("study.name={_target_: winnow.filters.Full}", "study.name"),
    ],
)
def test_the_type_of_a_target_is_checked_before_anything_is_constructed(
    shared: Path, capsys: pytest.CaptureFixture[str], override: str, expected: str
) -> None:
    before = set(shared.iterdir()) - {shared / "home"}
    assert main(["train", override]) == 1
    message = read_errors(capsys)
    assert any(text in message for text in expected.split("|")), message
    assert set(shared.iterdir()) - {shared / "home"} == before, "matplotlib creates a folder in the home folder"


def test_construct_checks_all_types_before_it_constructs_an_object() -> None:
    made: list[str] = []

    class Recorder:
        def __init__(self, **_: object) -> None:
            made.append("made")

    module = type(sys)("recording_package")
    module.Recorder = Recorder  # type: ignore[attr-defined]
    Recorder.__module__ = "recording_package"
    sys.modules["recording_package"] = module
    node = {
        "_target_": "winnow.data.Dataset",
        "name": "x",
        "source": {"_target_": "recording_package.Recorder", "inner": {"_target_": "recording_package.Recorder"}},
    }
    try:
        with pytest.raises(WinnowErrors, match=r"expected a subclass of winnow\.data\.Source"):
            construct(node, "dataset", allow=["recording_package"])
    finally:
        del sys.modules["recording_package"]
    assert made == []


def test_printing_a_configuration_does_not_load_an_installed_metric(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = shared / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[winnow.metrics]\nloudness = evil_package:loudness\n")
    assert main(["train", "--cfg", "+probe.nike.metrics=[loudness]"]) == 0
    assert "loudness" in capsys.readouterr().out
    assert not (shared / "executed").exists()
    assert main(["train", "--cfg", "+probe.nike.metrics=[loudnes]"]) == 1
    assert "probe.nike.metrics.0: no installed package registers a metric 'loudnes'" in read_errors(capsys)


def test_printing_a_configuration_constructs_no_optimizer(capsys: pytest.CaptureFixture[str]) -> None:
    invalid = ["~optimizer.fused", "optimizer._target_=torch.optim.SGD", "optimizer.lr=-1"]
    assert main(["train", "--cfg", *invalid]) == 0
    assert "lr: -1.0" in capsys.readouterr().out
    assert main(["train", *invalid, "seed=x"]) == 1
    errors = read_errors(capsys)
    assert "optimizer.lr: SGD rejected its arguments" in errors
    assert "seed: got 'x'" in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "hydra: {callbacks: {x: {_target_: evil_package.Signal}}}\n",
        "hydra: {job_logging: {handlers: {console: {(): evil_package.Signal}}}}\n",
        "hydra: {job_logging: {handlers: {console: {class: evil_package.Signal, level: INFO}}}}\n",
        "hydra: {job_logging: {formatters: {simple: {format: 'ext://evil_package.Signal'}}}}\n",
        "hydra: {mode: MULTIRUN, sweeper: {params: {allow_targets: '[evil_package]'}}}\n" + SIGNAL,
        "allow_targets: [evil_package]\n" + SIGNAL,
    ],
)
def test_the_hydra_script_runs_no_code_of_a_config_file(shared: Path, text: str) -> None:
    write_experiment(shared, text)
    for option in ([], ["--cfg", "job"]):
        command = [sys.executable, str(ROOT / "scripts/train.py"), "experiment=shared", *option]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        # Hydra prints `allow_targets` without constructing an object.
        assert done.returncode == (0 if option and "allow_targets" in text else 1), done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert not (shared / "executed").exists()
