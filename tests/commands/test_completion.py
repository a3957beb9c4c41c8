"""Completion in the shell: the completions of each command, and a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.cli import main
from winnow.commands.completion import list_completions
from winnow.tracking import Store, keys

COMPLETE = """
eval "$(winnow completion bash)"
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; COMP_KEY=9
read -r -a COMP_WORDS <<< "$COMP_LINE"; [[ "$COMP_LINE" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_python_argcomplete winnow
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def finished_runs(workplace: Path, store: Store) -> None:
    """Finished runs of the study `mine` in the embedded store."""
    client = store.client()
    for arm, seed in (("full", "10"), ("full", "2"), ("nike_positive", "2")):
        tags = {keys.KIND: "cell", keys.STUDY: "mine", keys.ARM: arm, keys.SEED: seed}
        client.set_terminated(client.create_run(store.experiment("mine"), tags=tags).info.run_id)


def test_config_groups_keys_studies_and_runs_are_completed(finished_runs: None) -> None:
    assert "filter=nike_positive" in list_completions("train", "filter=ni")
    assert "filter=full,nike_positive" in list_completions("train", "filter=full,")
    assert "filter=full,full" not in list_completions("train", "filter=full,")
    assert {"training.max_steps=", "filter="} <= set(list_completions("train", "t"))
    assert list_completions("compare", "")[0] == "mine"
    assert list_completions("fill", "")[:3] == ["mine/full/2", "mine/full/10", "mine/nike_positive/2"]
    assert list_completions("train", "unknown=") == []


def test_nothing_is_completed_without_a_store(workplace: Path) -> None:
    assert all(text.endswith("=") for text in list_completions("fill", ""))


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main(["completion", "bash"]) == 1
    assert "pip install 'winnow-mlm[completion]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_options_groups_and_runs(
    finished_runs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("argcomplete")
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        assert "winnow" in capsys.readouterr().out
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def complete(line: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", COMPLETE.format(line=line)],
            capture_output=True, text=True, check=True, timeout=120, env={**os.environ, "PATH": search_path},
        )  # fmt: skip
        return [text.strip() for text in done.stdout.splitlines()]

    assert complete("winnow com") == ["compare", "completion"]
    assert "--cfg" in complete("winnow train --c")
    assert "nike_positive" in complete("winnow train filter=nike_p")
    assert complete("winnow fill mine/full/1") == ["mine/full/10"]
