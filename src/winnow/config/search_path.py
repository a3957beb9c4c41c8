"""The config search path: the built-in `conf/`, the local `./conf`, the `--config-dir` folders and plugin folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from winnow.config.config_store import register_nodes
from winnow.config.plugins import plugin_folders
from winnow.errors import WinnowError

Choices = dict[str, list[str]]
"""The choices of each config group, by group."""


def conf_folder() -> Path:
    """Return the folder with the built-in configuration, in the installed package or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def user_folders(config_dirs: Sequence[Path] = ()) -> list[Path]:
    """Return all config folders except the built-in one: `./conf`, the `--config-dir` folders and plugin folders."""
    folders = [Path.cwd() / "conf", *(folder.absolute() for folder in config_dirs), *plugin_folders()]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir() and folder.resolve() != conf_folder()]


def describe_choices(config_dirs: Sequence[Path] = ()) -> Choices:
    """Return the choices of each group from the built-in `conf/` and the user's config folders."""
    choices: dict[str, set[str]] = {}
    for folder in (conf_folder(), *user_folders(config_dirs)):
        for path in sorted(folder.rglob("*.yaml")):
            group = path.parent.relative_to(folder).as_posix()
            if group != ".":
                choices.setdefault(group, set()).add(path.stem)
    return {group: sorted(names) for group, names in sorted(choices.items())}


def check_folders(config_dirs: Sequence[Path]) -> Iterator[WinnowError]:
    """Yield an error for each config folder that does not exist, and for each user file that Hydra would never read.

    For each name, Hydra reads only the first file on the search path, and the built-in folder comes first.
    """
    for folder in config_dirs:
        if not folder.is_dir():
            yield WinnowError(
                f"the folder {str(folder)!r} does not exist. Create it, or specify an existing folder.", "--config-dir"
            )
    for folder in user_folders(config_dirs):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder)
            if (conf_folder() / name).exists():
                message = "a built-in config file has the same name, so this file is never read. Rename it."
                yield WinnowError(message, f"{folder.name}/{name}")


def searchpath_override(config_dirs: Sequence[Path]) -> list[str]:
    """Return a list with the override that adds the user's config folders to the search path, or an empty list."""
    folders = ",".join(f"'file://{_escape(folder)}'" for folder in user_folders(config_dirs))
    return [f"hydra.searchpath=[{folders}]"] if folders else []


def _escape(folder: Path) -> str:
    return str(folder).replace("\\", "\\\\").replace("'", "\\'")


@contextmanager
def initialized_hydra() -> Iterator[None]:
    """Initialize Hydra with the built-in configuration as the primary config folder."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_nodes()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3", job_name="winnow"):
        yield
