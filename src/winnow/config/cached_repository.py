"""Keep loaded config files in memory while the cells of a sweep are composed."""

from __future__ import annotations

import pickle
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigResult


class CachedConfigRepository(ConfigRepository):
    """A repository that reads each config file once. Hydra itself reads each file once per composition.

    Hydra changes the loaded configs, so the cache holds pickled copies. Unpickling is faster than parsing.
    """

    _pickled_results: dict[tuple[str, ...], bytes]

    def __init__(self, repository: ConfigRepository) -> None:
        self.sources = repository.sources
        self._pickled_results = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> CachedConfigRepository:
        """Return a repository with the same cache. Hydra copies the repository before each composition."""
        copied = CachedConfigRepository(self)
        copied._pickled_results = self._pickled_results
        return copied

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return the config at a path relative to the search path, or `None` if no source has it."""
        key = (config_path, *(f"{source.scheme()}://{source.path}" for source in self.sources))
        if key not in self._pickled_results:
            self._pickled_results[key] = pickle.dumps(super().load_config(config_path))
        result: ConfigResult | None = pickle.loads(self._pickled_results[key])  # noqa: S301 - pickled by this object
        return result


def cache_loaded_configs() -> None:
    """Make the initialized Hydra instance read each config file only once."""
    loader: Any = GlobalHydra.instance().config_loader()
    loader.repository = CachedConfigRepository(loader.repository)
