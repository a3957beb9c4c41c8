"""Tests that the notebooks run, import only three packages, and are stored without outputs."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from winnow.cli import main

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def run_notebook(name: str, folder: Path) -> str:
    """Run a notebook in a folder and return its output."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text") or "\n".join(map(str, output.get("data", {}).values())) for output in outputs)


def test_there_are_two_notebooks() -> None:
    assert NAMES == ["compare_v1_v2.ipynb", "explore_filter.ipynb"]


@pytest.mark.slow
def test_comparison_notebook_runs(
    planted_store: Any, planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_STORE", planted_store.uri)
    monkeypatch.setenv("WINNOW_STUDY", planted)
    monkeypatch.setattr("sys.argv", ["pytest"])
    output = run_notebook("compare_v1_v2.ipynb", tmp_path)
    assert "Better on nike_wide" in output
    assert "<svg" in output
    assert "nike_positive - full" in output
    assert "Nike shoes are very [MASK]" in output


@pytest.mark.slow
def test_filter_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["filter", "dataset.source.rows=900"]) == 0
    (folder,) = (tmp_path / "outputs/filters").iterdir()
    monkeypatch.setenv("WINNOW_FILTER", str(folder))
    output = run_notebook("explore_filter.ipynb", tmp_path)
    assert "nike_positive keeps" in output
    assert "more rows kept" in output
    assert "disagree on" in output
    assert "<svg" in output


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_have_no_outputs_and_import_three_packages(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("winnow"):
                    assert node.module in ("winnow.comparison", "winnow.filters", "winnow.reporting")
