"""Compute a fingerprint of everything that a comparison depends on, to skip comparisons of unchanged studies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import winnow
from winnow.comparison.study_reader import StudySelection
from winnow.tracking.keys import MODEL_FOLDER

PACKAGES = ("numpy", "pandas", "scipy", "pyarrow", "matplotlib", "jinja2")
"""The packages that produce the numbers, figures and pages of a report."""

SOURCE_SUFFIXES = (".py", ".html", ".md", ".css", ".js")


def compute_inputs_fingerprint(selection: StudySelection, options: Mapping[str, Any]) -> str:
    """Return a fingerprint that changes if a new comparison could differ from an earlier one.

    The fingerprint covers the selected runs (tags, metrics and times), their artifacts, the declaration, the notes
    about the other runs, the options, and the versions of Winnow and of the packages that produce the report.
    Artifacts on an MLflow server are not covered. They are uploaded before a run ends, and the end time is covered.
    Declaring the same study again does not change the fingerprint.

    Args:
        selection: The runs to compare.
        options: The options of the comparison.
    """
    declaration = dataclasses.replace(selection.declaration, cells=tuple(dict.fromkeys(selection.declaration.cells)))
    cell_ids = {cell.run_id for cell in selection.cells}
    inputs = {
        "study": selection.name,
        "declaration": dataclasses.asdict(declaration),
        "cells": [dataclasses.asdict(cell) for cell in selection.cells],
        "notes": selection.notes,
        "artifacts": [
            list(_list_files(run.info.artifact_uri)) for run in selection.runs if run.info.run_id in cell_ids
        ],
        "options": dict(options),
        "versions": {"winnow": winnow.__version__} | {package: version(package) for package in PACKAGES},
        "source": _find_newest_source_time(),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def _list_files(artifact_uri: str) -> Iterator[tuple[str, int, int]]:
    """Yield the path, size and modification time of each local artifact of a run, except for the model files."""
    root = urlparse(artifact_uri)
    if root.scheme not in ("", "file"):
        return
    for folder, folders, files in os.walk(unquote(root.path)):
        folders[:] = sorted(name for name in folders if name != MODEL_FOLDER)
        for file in (Path(folder, name) for name in sorted(files)):
            status = file.stat()
            yield str(file), status.st_size, status.st_mtime_ns


def _find_newest_source_time() -> int:
    """Return the modification time of Winnow's newest source file, which changes while Winnow is being edited."""
    files = Path(winnow.__file__).parent.rglob("*")
    return max(file.stat().st_mtime_ns for file in files if file.suffix in SOURCE_SUFFIXES)
