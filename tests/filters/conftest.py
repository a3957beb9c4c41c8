from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from winnow.data import Corpus
from winnow.data.corpus import content_fingerprint

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
def corpus_of() -> Callable[..., Corpus]:
    """Make a corpus of the given texts, all in `train` but for the last two."""

    def make(texts: Sequence[str], splits: Sequence[str] | None = None) -> Corpus:
        table = pa.table(
            {
                "row_id": [f"{i:016x}" for i in range(len(texts))],
                "text": list(texts),
                "source": ["small"] * len(texts),
                "split": splits or ["train"] * (len(texts) - 2) + ["validation", "test"],
            }
        )
        return Corpus(table, content_fingerprint(table), {"read": len(texts)}, [])

    return make
