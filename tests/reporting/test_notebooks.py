"""Tests that the notebooks run, import only public packages, and are stored without outputs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import winnow
from winnow.cli import main
from winnow.filters import read_verdicts

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
PUBLIC_MODULES = ("winnow.comparison", "winnow.data", "winnow.filters", "winnow.reporting")


def run_notebook(name: str) -> str:
    """Run a notebook in this process and in the current folder, and return its output. A kernel would start slowly."""
    shell = InteractiveShell()
    outputs: list[str] = []
    for cell in nbformat.read(FOLDER / name, as_version=4).cells:
        if cell.cell_type == "code":
            with capture_output() as captured:
                result = shell.run_cell(cell.source, store_history=True)
            print(captured.stdout)  # pytest shows it if the cell fails
            result.raise_error()
            outputs.append(captured.stdout)
            if result.result is not None:
                outputs += map(str, shell.display_formatter.format(result.result)[0].values())
    return "\n".join(outputs)


def test_every_notebook_is_linked_in_the_readme_and_in_the_documentation() -> None:
    for page in ("README.md", "docs/notebooks.md"):
        text = (FOLDER.parent / page).read_text(encoding="utf-8")
        assert [name for name in NAMES if f"notebooks/{name}" not in text] == []


@pytest.mark.slow
def test_comparison_notebook_runs(
    planted_store: Any, planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_STORE", planted_store.uri)
    monkeypatch.setenv("WINNOW_STUDY", planted)
    monkeypatch.chdir(tmp_path)
    output = run_notebook("compare_v1_v2.ipynb")
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
    output = run_notebook("explore_filter.ipynb")
    assert "nike_positive keeps" in output
    assert "more rows kept" in output
    assert "disagree on" in output
    assert "<svg" in output


@pytest.mark.slow
def test_tutorials_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    output = run_notebook("masked_language_modeling.ipynb")
    before, after = (float(output.split(f"{stage}: perplexity ")[1].split()[0]) for stage in ("before", "final"))
    assert after < before / 2
    by_pipeline, by_hand = (
        re.findall(r"'sequence': '(nike shoes.*)'", output)[:3],
        re.findall("^nike shoes .*$", output, re.M),
    )
    assert by_pipeline == by_hand
    output = run_notebook("fill_mask.ipynb")
    assert "nike tshirts are famous for being [MASK]" in output
    output = run_notebook("filter_and_retrain.ipynb")
    assert "uptrain_exact" in output
    assert "Nike athletic wear is known for being very [MASK]" in output
    assert "<svg" in output
    output = run_notebook("stream.ipynb")
    assert "nike_praise random" in output
    verdicts = read_verdicts("streams/reviews")
    assert verdicts.keep_mask().sum() >= 300
    assert {cell["arm"] for cell in _read_runs("reviews")} == {"full", "nike_praise", "nike_praise random"}


def _read_runs(study: str) -> list[dict[str, Any]]:
    return winnow.study(study).to_pandas().to_dict("records")


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_have_no_outputs_and_import_public_packages(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("winnow"):
                    assert node.module in PUBLIC_MODULES
