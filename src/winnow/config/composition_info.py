"""Where a configuration comes from: the search path and the defaults list that Hydra composed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from winnow.config.deprecated import rename_override
from winnow.config.overrides import forced, parse
from winnow.config.search_path import describe_choices, initialized_hydra, searchpath_override

PARTS = ("searchpath", "defaults")


def composition_info(command: str, arguments: Sequence[str], config_dirs: Sequence[Path], part: str = "all") -> str:
    """Return the search path, the defaults list, or both, of a configuration without errors.

    Values that differ between the cells of a sweep are left out.

    Args:
        command: Name of the root file in `conf/`.
        arguments: Hydra overrides.
        config_dirs: Folders given with `--config-dir`.
        part: `searchpath`, `defaults`, or `all`.
    """
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    choices = describe_choices(config_dirs)
    fixed = [forced(choices, text) for text in map(rename_override, arguments) if not parse(text).is_sweep_override()]
    overrides = [*searchpath_override(config_dirs), *fixed]
    with initialized_hydra():
        sources = compose(command, overrides, return_hydra_config=True).hydra.runtime.config_sources
        found = GlobalHydra.instance().config_loader().compute_defaults_list(command, overrides, RunMode.RUN).defaults
    found = [one for one in found if not (one.config_path or "").startswith("hydra/")]  # which a study does not use
    tables = {
        "searchpath": _table(
            "Config search path",
            ("provider", "path"),
            ((one.provider, f"{one.schema}://{one.path}") for one in sources if one.provider != "schema"),
        ),
        "defaults": _table(
            "Defaults list",
            ("config", "package", "included by"),
            ((one.config_path or "", one.package or "_global_", one.parent or "") for one in found),
        ),
    }
    return "\n\n".join(tables[name] for name in PARTS if part in ("all", name))


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of text with columns as wide as needed."""
    lines = [heads, *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(heads))]
    told = ("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([title, *(line.rstrip() for line in told)])
