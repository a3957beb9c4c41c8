from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.data import Dataset, Files


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str | bytes, name: str = "texts.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def dataset_of(write_csv: Callable[..., Path]) -> Callable[..., Dataset]:
    """Make a dataset of the given texts, by way of a file."""

    def make(texts: list[str], **settings: Any) -> Dataset:
        path = write_csv("text\n" + "".join(f'"{text}"\n' for text in texts))
        return Dataset(name="small", source=Files(path=path, text=["text"]), **settings)

    return make
