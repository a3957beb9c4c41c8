"""The command line, the scripts, the commands in the README, and the wheel."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from winnow.cli import main
from winnow.commands.argument_parsers import COMMANDS
from winnow.commands.config_key_help import list_keys
from winnow.tracking import Store
from winnow.tracking.run_queries import read_run_metrics
from winnow.tracking.run_references import resolve_run

ROOT = Path(__file__).parents[2]
WINNOW = Path(sys.executable).with_name("winnow")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "heavy_packages"),
    [
        (["--help"], ("torch", "hydra", "mlflow", "pyarrow", "pydantic", "numpy")),
        (["train", "--help"], ("torch", "hydra", "mlflow", "pyarrow", "numpy")),
    ],
)
def test_help_does_not_import_heavy_packages(arguments: list[str], heavy_packages: tuple[str, ...]) -> None:
    code = f"import sys; from winnow.cli import main\ntry: main({arguments})\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "usage: winnow" in done.stdout
    for heavy in heavy_packages:
        assert f"'{heavy}'" not in done.stdout


def test_an_unknown_option_is_rejected() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--fast"])
    assert stopped.value.code == 2


def test_all_configuration_errors_are_reported_together(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sed=1", "training.max_steps=none"]) == 1
    printed = capsys.readouterr().err
    assert "2 configuration errors; nothing was run" in printed
    assert "Did you mean 'seed'?" in printed
    assert not (workplace / "outputs" / "cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_training_marks_the_run_as_killed(
    workplace: Path, store: Store, small: list[str], signum: signal.Signals, code: int
) -> None:
    command = [WINNOW, "train", *small, "training.max_steps=100000", "training.validate_every_steps=5"]
    # A test runner in the background ignores SIGINT, and child processes inherit that.
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    client, experiment = store.client(), store.experiment("scratchpad")
    deadline = time.monotonic() + 120
    while not any("validation/loss" in run.data.metrics for run in client.search_runs([experiment])):
        assert time.monotonic() < deadline, "training did not start"
        time.sleep(0.2)
    os.kill(process.pid, signum)
    assert process.wait(timeout=60) == code
    (run,) = client.search_runs([experiment])
    assert run.info.status == "KILLED"
    assert list((workplace / "outputs/scratchpad/cells").glob("*/last.ckpt")), "the run can resume"


@pytest.mark.slow
def test_of_two_processes_one_tracks_the_run(workplace: Path, store: Store, small: list[str]) -> None:
    command = [WINNOW, "train", "trainer=ddp", "trainer.accelerator=cpu", "study.name=two", *small]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert main(["train", "study.name=one", *small]) == 0
    losses = []
    for study in ("one", "two"):
        (run,) = store.client().search_runs([store.experiment(study)])
        assert run.info.status == "FINISHED"
        losses.append(run.data.metrics["validation/loss"])
    # Dropout differs between the two runs; rows and masks are the same.
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


NO_CONFIG = ("init", "completion")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_lists_its_keys(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr().out
    for key in list_keys(command):
        assert key.meaning, key.name
        assert f"  {key.name}=" in printed
    assert ("filter=" in printed) == (command in ("train", "filter"))


def test_the_help_gives_types_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    assert "training.batch_size=64  (int > 0 and <= 1000000)" in printed
    assert "training.scheduler=linear  (linear|cosine|constant)" in printed
    assert "filter=full  (config group)" in printed
    assert "Rows per optimizer step" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [line for name, command in COMMANDS.items() if name not in NO_CONFIG for line in command.examples]
)
def test_every_example_of_the_help_composes(workplace: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*shlex.split(line), "--cfg"]) == 0
    assert "_target_" in capsys.readouterr().out


def test_the_printing_options_of_hydra(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "job", "--resolve", "seed=7"]) == 0
    first = capsys.readouterr().out
    assert main(["train", "--cfg", "seed=7"]) == 0
    assert capsys.readouterr().out == first
    assert "seed: 7" in first
    assert main(["train", "--info", "seed=7"]) == 0
    assert "Config search path" in capsys.readouterr().out
    for rejected in (["--resolve"], ["--cfg", "hydra"]):
        with pytest.raises(SystemExit):
            main(["train", *rejected])


def test_a_study_may_be_given_with_or_without_its_key(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("demo", "study=demo"):
        assert main(["export", name, "--cfg"]) == 0
        assert "study: demo" in capsys.readouterr().out


def readme_commands(page: str = "README.md") -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("winnow ")]


def write_readme_files(folder: Path) -> None:
    """Write a file of reviews, and the configuration files that the README's `winnow init` writes for it."""
    words = ("comfortable", "soft", "tight", "perfect and large", "perfect")
    rows = [f"Dress {i},number {i} is {words[i % 5]} and I love it" for i in range(400)]
    (folder / "reviews.csv").write_text("Title,Review Text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    init_from_readme()


def init_from_readme(*options: str) -> None:
    (command,) = [command for command in readme_commands() if command.startswith("winnow init")]
    assert main([*shlex.split(command)[1:], *options]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({*readme_commands(), *readme_commands("docs/tutorial.md")}))
def test_every_command_of_the_readme_and_the_tutorial_composes(workplace: Path, command: str) -> None:
    write_readme_files(workplace)
    assert command.startswith("winnow init") or main([*shlex.split(command)[1:], "--cfg"]) == 0


@pytest.mark.slow
def test_the_study_of_the_readme_runs(workplace: Path, small: list[str]) -> None:
    write_readme_files(workplace)
    (study,) = [command for command in readme_commands() if "experiment=reviews" in command]
    overrides = [override for override in small if not override.startswith("dataset.")]
    assert main([*shlex.split(study)[1:], "seed=1,2", *overrides]) == 0
    assert (workplace / "outputs/reviews/comparison/report.html").exists()


@pytest.mark.slow
def test_the_study_of_the_readme_runs_on_real_reviews(
    workplace: Path, small: list[str], shared_data: Path, store: Store
) -> None:
    shutil.copy(shared_data / "clothing_reviews.csv", workplace / "reviews.csv")
    init_from_readme("--comparison", "top,sweater", "--label", "Division Name")
    (study,) = [command for command in readme_commands() if "experiment=reviews" in command]
    overrides = [override for override in small if not override.startswith("dataset.")]
    assert main([*shlex.split(study)[1:], "seed=1,2", *overrides]) == 0
    comparison = json.loads((workplace / "outputs/reviews/comparison/comparison.json").read_text())
    assert comparison["arms"]["reviews_filtered"]["n"] == comparison["arms"]["reviews_random"]["n"] == 2
    assert comparison["endpoints"]["specificity"]["comparison"] == ["top", "sweater"]
    metrics = read_run_metrics(store.client(), resolve_run(store.client(), "reviews/full/1"))
    assert {"final/test/label/General/loss", "final/test/label/General Petite/loss"} <= set(metrics)


@pytest.mark.slow
def test_the_filter_command_of_the_readme_runs(workplace: Path) -> None:
    write_readme_files(workplace)
    (command,) = [command for command in readme_commands() if "dataset=csv" in command]
    assert main(shlex.split(command)[1:]) == 0
    assert list((workplace / "outputs/filters").glob("*/kept.csv"))


def test_every_file_that_the_readme_links_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / link).is_file()


@pytest.mark.slow
def test_the_ui_runs_mlflow_on_the_store(workplace: Path, store: Store) -> None:
    store.experiment("a-study-in-the-ui")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [WINNOW, "ui", f"port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=a-study-in-the-ui"
        assert b"a-study-in-the-ui" in fetch(url)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def fetch(url: str) -> bytes:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read()
        except OSError:
            assert time.monotonic() < deadline, "the server did not respond"
            time.sleep(0.5)


@pytest.mark.slow
def test_the_wheel_contains_the_configuration_and_runs_outside_the_repository(
    workplace: Path, small: list[str]
) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", workplace / "dist", ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (workplace / "dist").glob("*.whl")
    site = workplace / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "import winnow, sys; from winnow.cli import main; print(winnow.__file__); sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "debug=fast_dev_run", *small],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
    script = [sys.executable, ROOT / "scripts/train.py", "--info", "searchpath"]
    done = subprocess.run(
        script, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True
    )
    assert str(site / "winnow/conf") in done.stdout
