"""Set up Hydra's config search path: the built-in `conf/`, `./conf`, the `--config-dir` folders and plugin folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from winnow.config.config_store import register_nodes
from winnow.config.plugins import plugin_config_folders
from winnow.errors import WinnowError

GroupOptions = dict[str, list[str]]
"""The names of the options of each config group, keyed by group."""


def builtin_config_folder() -> Path:
    """Return the built-in config folder, which is in the installed package or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def user_config_folders(config_dirs: Sequence[Path] = ()) -> list[Path]:
    """Return the config folders other than the built-in one: `./conf`, `--config-dir` and plugin folders."""
    folders = [Path.cwd() / "conf", *(folder.absolute() for folder in config_dirs), *plugin_config_folders()]
    return [
        folder for folder in dict.fromkeys(folders) if folder.is_dir() and folder.resolve() != builtin_config_folder()
    ]


def list_group_options(config_dirs: Sequence[Path] = ()) -> GroupOptions:
    """Return the options of each config group, from the built-in `conf/` and all user config folders."""
    choices: dict[str, set[str]] = {}
    for folder in (builtin_config_folder(), *user_config_folders(config_dirs)):
        for path in sorted(folder.rglob("*.yaml")):
            group = path.parent.relative_to(folder).as_posix()
            if group != ".":
                choices.setdefault(group, set()).add(path.stem)
    return {group: sorted(names) for group, names in sorted(choices.items())}


def check_config_folders(config_dirs: Sequence[Path]) -> Iterator[WinnowError]:
    """Yield an error for each config folder that does not exist, and for each user file that Hydra would not read.

    If several folders on the search path contain a file with the same name, Hydra reads only the first file. The
    built-in folder is first on the search path, so it hides user files with the same name.
    """
    for folder in config_dirs:
        if not folder.is_dir():
            yield WinnowError(
                f"the folder {str(folder)!r} does not exist. Create the folder, or pass the path of another folder.",
                "--config-dir",
            )
    for folder in user_config_folders(config_dirs):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder)
            if (builtin_config_folder() / name).exists():
                message = (
                    f"this file is never read, because the built-in configuration also has {name}. Rename {path.name}."
                )
                yield WinnowError(message, f"{folder.name}/{name}")


def searchpath_override(config_dirs: Sequence[Path]) -> list[str]:
    """Return a list with the `hydra.searchpath` override for the user's config folders, or an empty list."""
    from winnow.config.user_config_source import SCHEME

    folders = ",".join(f"'{SCHEME}://{_escape_path(folder)}'" for folder in user_config_folders(config_dirs))
    return [f"hydra.searchpath=[{folders}]"] if folders else []


def _escape_path(folder: Path) -> str:
    return str(folder).replace("\\", "\\\\").replace("'", "\\'")


@contextmanager
def initialized_hydra() -> Iterator[None]:
    """Initialize Hydra with the built-in `conf/` as the primary config folder, for the duration of a `with` block."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from winnow.config.cached_repository import cache_loaded_configs
    from winnow.config.user_config_source import register_user_config_source

    register_nodes()
    register_user_config_source()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(builtin_config_folder()), version_base="1.3", job_name="winnow"):
        cache_loaded_configs()
        yield
