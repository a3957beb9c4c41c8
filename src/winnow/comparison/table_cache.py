"""Cache the tables that a function returns, up to a total size in memory."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    import pandas as pd

Arguments = ParamSpec("Arguments")


def cache_tables(
    max_bytes: int, max_tables: int
) -> Callable[[Callable[Arguments, pd.DataFrame | None]], Callable[Arguments, pd.DataFrame | None]]:
    """Return a decorator that caches the tables of a function with hashable arguments.

    If there are more than `max_tables` tables or they need more than `max_bytes`, the least recently used tables are
    removed. The most recent table is always kept. Unlike `functools.lru_cache`, this cache holds many small tables or a
    few large ones.
    """

    def decorate(function: Callable[Arguments, pd.DataFrame | None]) -> Callable[Arguments, pd.DataFrame | None]:
        tables: OrderedDict[Hashable, tuple[pd.DataFrame | None, int]] = OrderedDict()

        @functools.wraps(function)
        def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> pd.DataFrame | None:
            key = (arguments, tuple(options.items()))
            if key in tables:
                tables.move_to_end(key)
                return tables[key][0]
            table = function(*arguments, **options)
            tables[key] = table, 0 if table is None else int(table.memory_usage().sum())
            total_bytes = sum(size for _, size in tables.values())
            while len(tables) > 1 and (total_bytes > max_bytes or len(tables) > max_tables):
                _, (_, size) = tables.popitem(last=False)
                total_bytes -= size
            return table

        return call

    return decorate
