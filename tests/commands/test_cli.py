"""The commands as a shell sees them, the scripts, the README and the installed package."""

import os
import re
import shlex
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
from winnow.commands.arguments import COMMANDS
from winnow.commands.key_help import keys_of
from winnow.tracking import Store

ROOT = Path(__file__).parents[2]
WINNOW = Path(sys.executable).with_name("winnow")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "heavy_ones"),
    [
        (["--help"], ("torch", "hydra", "mlflow", "pyarrow", "pydantic", "numpy")),
        (["train", "--help"], ("torch", "hydra", "mlflow", "pyarrow", "numpy")),
    ],
)
def test_help_comes_at_once_without_the_heavy_libraries(arguments: list[str], heavy_ones: tuple[str, ...]) -> None:
    code = f"import sys; from winnow.cli import main\ntry: main({arguments})\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "usage: winnow" in done.stdout
    for heavy in heavy_ones:
        assert f"'{heavy}'" not in done.stdout


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--fast"])
    assert stopped.value.code == 2


def test_several_faults_are_told_together(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sed=1", "training.max_steps=none"]) == 1
    told = capsys.readouterr().err
    assert "2 faults" in told
    assert "Did you mean 'seed'?" in told
    assert not (workplace / "outputs" / "cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_training_ends_the_run_killed(
    workplace: Path, store: Store, small: list[str], signum: signal.Signals, code: int
) -> None:
    command = [WINNOW, "train", *small, "training.max_steps=100000", "training.validate_every_steps=5"]
    # A test runner in the background ignores Ctrl-C, and hands that down.
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    client, experiment = store.client(), store.experiment("scratchpad")
    deadline = time.monotonic() + 120
    while not any("validation/loss" in run.data.metrics for run in client.search_runs([experiment])):
        assert time.monotonic() < deadline, "training did not begin"
        time.sleep(0.2)
    os.kill(process.pid, signum)
    assert process.wait(timeout=60) == code
    (run,) = client.search_runs([experiment])
    assert run.info.status == "KILLED"
    assert list((workplace / "outputs/scratchpad/cells").glob("*/last.ckpt")), "what was trained can be taken up"


@pytest.mark.slow
def test_two_processes_train_and_one_keeps_the_record(workplace: Path, store: Store, small: list[str]) -> None:
    command = [WINNOW, "train", "trainer=ddp", "trainer.accelerator=cpu", "study.name=two", *small]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert main(["train", "study.name=one", *small]) == 0
    losses = []
    for study in ("one", "two"):
        (run,) = store.client().search_runs([store.experiment(study)])
        assert run.info.status == "FINISHED"
        losses.append(run.data.metrics["validation/loss"])
    # Dropout differs between the two, the rows and their masks do not.
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_lists_its_own_keys(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    for key in keys_of(command):
        assert key.meaning, key.name
        assert f"  {key.name}=" in told
    assert ("filter=" in told) == (command in ("train", "filter"))


def test_the_help_gives_types_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = capsys.readouterr().out
    assert "training.batch_size=64  (int > 0)" in told
    assert "training.scheduler=linear  (linear|cosine|constant)" in told
    assert "filter=full  (config group)" in told
    assert "Rows an optimizer step sees" in told


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for command in COMMANDS.values() for line in command.examples])
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
    for refused in (["--resolve"], ["--cfg", "hydra"]):
        with pytest.raises(SystemExit):
            main(["train", *refused])


def test_a_study_may_be_named_with_or_without_its_key(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("demo", "study=demo"):
        assert main(["export", name, "--cfg"]) == 0
        assert "study: demo" in capsys.readouterr().out


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("winnow ")]


def written_by_the_user(folder: Path) -> None:
    """Write the configuration files that the README shows, and a file of reviews for them."""
    for text in re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL):
        file = folder / text.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    words = ("comfortable", "durable", "ugly", "stylish and bad", "stylish")
    rows = [f"Dress {i},number {i} is {words[i % 5]} and I love it" for i in range(400)]
    (folder / "reviews.csv").write_text("Title,Review Text\n" + "\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("command", readme_commands())
def test_every_command_of_the_readme_composes(workplace: Path, command: str) -> None:
    written_by_the_user(workplace)
    assert main([*shlex.split(command)[1:], "--cfg"]) == 0


@pytest.mark.slow
def test_the_readmes_own_data_makes_a_study(workplace: Path, small: list[str]) -> None:
    written_by_the_user(workplace)
    (study,) = [command for command in readme_commands() if "praise_control" in command]
    overrides = [override for override in small if not override.startswith("dataset.")]
    assert main([*shlex.split(study)[1:], "seed=1,2", *overrides]) == 0
    assert (workplace / "outputs/reviews/comparison/report.html").exists()


@pytest.mark.slow
def test_the_readmes_own_file_is_filtered_by_overrides_alone(workplace: Path) -> None:
    written_by_the_user(workplace)
    (command,) = [command for command in readme_commands() if "dataset=csv" in command]
    assert main(shlex.split(command)[1:]) == 0
    assert list((workplace / "outputs/filters").glob("*/kept.csv"))


def test_every_file_that_the_readme_links_is_there() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / link).is_file()


@pytest.mark.slow
def test_the_ui_opens_mlflow_on_the_store_and_on_loopback_only(workplace: Path, store: Store) -> None:
    store.experiment("a-study-to-be-seen")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [WINNOW, "ui", f"port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=a-study-to-be-seen"
        assert b"a-study-to-be-seen" in fetched(url)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def fetched(url: str) -> bytes:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read()
        except OSError:
            assert time.monotonic() < deadline, "the server did not answer"
            time.sleep(0.5)


@pytest.mark.slow
def test_the_wheel_carries_its_configuration_and_runs_outside_the_checkout(workplace: Path, small: list[str]) -> None:
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
