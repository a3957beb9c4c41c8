"""The cache of score tables is bounded by its size in memory."""

import numpy as np
import pandas as pd

from winnow.comparison.table_cache import cache_tables


def test_the_least_recently_used_tables_are_removed() -> None:
    computed = []

    @cache_tables(max_bytes=25_000, max_tables=64)
    def build(name: str, rows: int = 1_000) -> pd.DataFrame | None:
        computed.append(name)
        return pd.DataFrame({"x": np.zeros(rows)}) if rows else None

    for name in ("a", "b", "c", "a", "d", "a", "c", "b"):  # three tables of 8 kB fit
        build(name)
    assert computed == ["a", "b", "c", "d", "b"]
    assert build("large", rows=10_000) is build("large", rows=10_000), "a table above the limit is cached alone"
    assert build("none", rows=0) is None
    assert build("none", rows=0) is None
    assert computed.count("none") == 1
