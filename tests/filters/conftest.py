from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest

from winnow.data import Corpus
from winnow.data.corpus import content_fingerprint


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
