"""The config search path: Winnow's own `conf/`, then a local `./conf` and the folders of `--config-dir`."""

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
    """Return the folder of Winnow's own configuration, in the installed package or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def user_folders(config_dirs: Sequence[Path] = ()) -> list[Path]:
    """Return the config folders except Winnow's own: `./conf`, the folders of `--config-dir` and of plugins."""
    folders = [Path.cwd() / "conf", *(folder.absolute() for folder in config_dirs), *plugin_folders()]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir() and folder.resolve() != conf_folder()]


def describe_choices(config_dirs: Sequence[Path] = ()) -> Choices:
    """Return the choices of each group in `conf/` and in the user's config folders."""
    choices: dict[str, set[str]] = {}
    for folder in (conf_folder(), *user_folders(config_dirs)):
        for path in sorted(folder.rglob("*.yaml")):
            group = path.parent.relative_to(folder).as_posix()
            if group != ".":
                choices.setdefault(group, set()).add(path.stem)
    return {group: sorted(names) for group, names in sorted(choices.items())}


def check_folders(config_dirs: Sequence[Path]) -> Iterator[WinnowError]:
    """Yield an error for each config folder that does not exist, and for each file of the user that Hydra cannot read.

    Hydra reads the first file of each name on the search path, and Winnow's own folder comes first.
    """
    for folder in config_dirs:
        if not folder.is_dir():
            yield WinnowError(f"there is no folder {str(folder)!r}. Set an existing folder.", "--config-dir")
    for folder in user_folders(config_dirs):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder)
            if (conf_folder() / name).exists():
                message = "the name is used by a file of Winnow, so this file is never read. Rename it."
                yield WinnowError(message, f"{folder.name}/{name}")


def searchpath_override(config_dirs: Sequence[Path]) -> list[str]:
    """Return the override that adds the user's config folders to the search path; empty if there are none."""
    folders = ",".join(f"'file://{_escape(folder)}'" for folder in user_folders(config_dirs))
    return [f"hydra.searchpath=[{folders}]"] if folders else []


def _escape(folder: Path) -> str:
    return str(folder).replace("\\", "\\\\").replace("'", "\\'")


@contextmanager
def initialized_hydra() -> Iterator[None]:
    """Let Hydra compose from Winnow's own configuration."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_nodes()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3", job_name="winnow"):
        yield
