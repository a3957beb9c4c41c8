from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.data import Dataset, Files

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def shared_data() -> Path:
    folder = REPOSITORY / "../shared/data"
    if not folder.exists():
        pytest.skip("the real CSV files are not beside the repository")
    return folder.resolve()


@pytest.fixture
def compose() -> Callable[..., dict[str, Any]]:
    """Compose `conf/` from overrides alone, without a root file."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    def compose(*overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
            tree = OmegaConf.to_container(hydra_compose(overrides=list(overrides)), resolve=True)
        assert isinstance(tree, dict)
        return tree

    return compose


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
