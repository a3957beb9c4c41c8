"""Provide a Hydra config source that checks each of the user's config files before loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult

from winnow.config.limits import check_config_file

SCHEME: Final = "user"
"""The URI scheme of the search path folders that contain the user's files."""


class UserConfigSource(FileConfigSource):
    """Reads config files from a folder, as Hydra's own source does, and checks their size and structure first."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of the folder's URI."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Check and load a file.

        Raises:
            WinnowError: If the file is too large or its structure is not valid.
        """
        file = Path(self.path) / self._normalize_file_name(config_path)
        if file.is_file():
            check_config_file(file)
        return super().load_config(config_path)


def register_user_config_source() -> None:
    """Register the source with Hydra. Calling this function again has no effect."""
    Plugins.instance().register(UserConfigSource)
