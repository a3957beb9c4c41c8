"""Names that would write files outside the output folder are rejected before any work, together with other errors."""

from pathlib import Path

import pytest

from winnow.cli import main


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.name.startswith("mlflow.db")}


@pytest.fixture
def inner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder within a folder, so that a name such as `../../x` would write into the test's own folder."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (["train"], ["dataset.name", "study.name"]),
        (["train", "filter=nike_positive"], ["filter.name"]),
        (["train", "filter=random_matched"], ["filter.name", "filter.of.name"]),
        (["train", "-m", "filter=full,nike_positive", "seed=1,2"], ["study.name", "study.baseline", "filter.name"]),
        (["filter"], ["dataset.name", "filter.name"]),
        (["compare"], ["study"]),
        (["export"], ["study"]),
        (["evaluate", "x"], ["name"]),
    ],
)
def test_a_name_with_a_path_is_rejected_together_with_all_other_errors(
    inner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], keys: list[str]
) -> None:
    before = list_files(tmp_path)
    for name in ("../../x", str(tmp_path / "x"), "cache"):
        assert main([*command, *(f"{key}='{name}'" for key in keys)]) == 1
        message = capsys.readouterr().err
        for key in keys:
            assert f"winnow: {key}: got '{name}'" in message.replace("\n    ", "")
        assert "Traceback" not in message
    assert list_files(tmp_path) == before


@pytest.mark.parametrize(
    ("group", "node"),
    [
        ("probe", "_target_: winnow.evaluation.Probe\n    prompts: ['It is [MASK]']"),
        ("evaluation/slices", "_target_: winnow.filters.Filter\n    name: x\n    signals: {}\n    keep: x"),
        ("dataset/external", "_target_: winnow.data.TextFiles\n    path: x.txt"),
        ("dataset/integrity", "_target_: winnow.data.NonNull"),
    ],
)
def test_a_key_that_becomes_a_name_is_checked(
    inner: Path, capsys: pytest.CaptureFixture[str], group: str, node: str
) -> None:
    (inner / "conf" / "experiment").mkdir(parents=True)
    outer, _, leaf = group.partition("/")
    tree = f"{leaf}:\n  '../../x':\n    {node}" if leaf else f"'../../x':\n    {node}"
    lines = "\n".join(f"  {line}" for line in tree.splitlines())
    (inner / "conf" / "experiment" / "bad.yaml").write_text(f"# @package _global_\n{outer}:\n{lines}\n")
    assert main(["train", "--cfg", "experiment=bad"]) == 1
    message = capsys.readouterr().err.replace("\n    ", "")
    assert f"winnow: {group.replace('/', '.')}.../../x: got '../../x'. Allowed: up to 100 letters" in message
