"""Format Hydra's config search path and defaults list, which `--info` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from winnow.config.deprecated import rename_deprecated_override
from winnow.config.overrides import force_add_override, parse_override
from winnow.config.search_path import initialized_hydra, list_group_options, searchpath_override

INFO_TABLES = ("searchpath", "defaults")


def format_composition_info(
    command: str, arguments: Sequence[str], config_dirs: Sequence[Path], section: str = "all"
) -> str:
    """Return the config search path, the defaults list, or both, as text tables.

    Overrides that define a sweep are ignored.

    Args:
        command: Name of the command's primary config in `conf/`, such as `train`.
        arguments: Hydra overrides as entered by the user.
        config_dirs: Folders passed with `--config-dir`.
        section: The table to return: `searchpath`, `defaults`, or `all` for both.
    """
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    choices = list_group_options(config_dirs)
    fixed = [
        force_add_override(choices, text)
        for text in map(rename_deprecated_override, arguments)
        if not parse_override(text).is_sweep_override()
    ]
    overrides = [*searchpath_override(config_dirs), *fixed]
    with initialized_hydra():
        sources = compose(command, overrides, return_hydra_config=True).hydra.runtime.config_sources
        loader = GlobalHydra.instance().config_loader()
        entries = loader.compute_defaults_list(command, overrides, RunMode.RUN).defaults
    # Omit the entries for Hydra's own configs, such as hydra/launcher, because Winnow does not use them.
    entries = [entry for entry in entries if not (entry.config_path or "").startswith("hydra/")]
    tables = {
        "searchpath": _format_table(
            "Config search path",
            ("provider", "path"),
            ((source.provider, f"file://{source.path}") for source in sources if source.provider != "schema"),
        ),
        "defaults": _format_table(
            "Defaults list",
            ("config", "package", "included by"),
            ((entry.config_path or "", entry.package or "_global_", entry.parent or "") for entry in entries),
        ),
    }
    return "\n\n".join(tables[name] for name in INFO_TABLES if section in ("all", name))


def _format_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a text table with a title, column headers and left-aligned columns."""
    lines = [headers, *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(headers))]
    aligned = ("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([title, *(line.rstrip() for line in aligned)])
