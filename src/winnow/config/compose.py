"""Compose the configuration of every cell with Hydra, and report all faults at once.

Hydra stops at the first fault it meets. Here group choices are looked up first, plain overrides are forced in, and
what comes out is checked as a whole against the schema and against each `_target_`; so one call tells everything that
is wrong.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from winnow.config import ablation
from winnow.config.deprecated import rename_override, rename_tree
from winnow.config.overrides import (
    forced,
    has_known_choice,
    is_plain_value,
    is_readable,
    is_used,
    of_single_run,
    parse,
    points_of_sweep,
    set_value,
)
from winnow.config.plain import plain
from winnow.config.resolve import resolve
from winnow.config.search_path import (
    Choices,
    check_folders,
    describe_choices,
    initialized_hydra,
    searchpath_override,
)
from winnow.config.validate import missing_values, validate
from winnow.errors import WinnowError, WinnowErrors

if TYPE_CHECKING:
    from omegaconf import DictConfig

Config = TypeVar("Config")


@dataclass(frozen=True)
class ComposedCell(Generic[Config]):
    """One resolved configuration: checked, typed, and with every default written out.

    Attributes:
        overrides: What the user, or the sweep, changed against `conf/`.
        config: The configuration.
    """

    overrides: list[str]
    config: Config

    @property
    def tree(self) -> dict[str, Any]:
        """The configuration as plain data, as it is printed, tracked and stored."""
        tree: dict[str, Any] = plain(self.config)
        return tree


def compose_cells(
    command: str,
    schema: type[Config],
    arguments: Sequence[str],
    multirun: bool = False,
    config_dirs: Sequence[Path] = (),
) -> tuple[list[ComposedCell[Config]], bool]:
    """Compose one configuration, or one for each point of a sweep.

    Args:
        command: Name of the root file in `conf/`.
        schema: The dataclass that the result must fit.
        arguments: Hydra overrides as typed, such as `filter=full,nike_positive`.
        multirun: Whether commas make a sweep; an experiment may ask for one itself by `hydra.mode: MULTIRUN`.
        config_dirs: Folders that join the search path after a local `./conf`.

    Returns:
        The cells, in the order of the sweep, and whether they are a sweep.

    Raises:
        WinnowErrors: All faults of all cells, each told once.
    """
    arguments = [rename_override(text) for text in arguments]
    faults: list[WinnowError] = list(check_folders(config_dirs))
    choices = describe_choices(config_dirs)
    with initialized_hydra():
        readable = [text for text in arguments if is_readable(text, faults) and is_used(text, command, faults)]
        searchpath = searchpath_override(config_dirs)
        fixed = [text for text in readable if not parse(text).is_sweep_override()]
        params, experiment_sweeps = _sweep_of_experiment(choices, command, searchpath, fixed)
        sweep = multirun or experiment_sweeps
        points = points_of_sweep(readable, params, choices, faults) if sweep else [of_single_run(readable, faults)]
        cells: list[ComposedCell[Config]] = []
        ablating = []
        shared: dict[tuple[str, ...], Any] = {}
        fits: list[str] = []
        stray: dict[str, None] = {}
        for point in points:
            known = [text for text in point if has_known_choice(choices, text, faults)]
            tree, nowhere = _compose_where_it_fits(choices, command, searchpath, known, faults, shared, sweep)
            fits += [text for text in known if "@" in text and text not in nowhere]
            stray |= dict.fromkeys(nowhere)
            point = [text for text in point if text not in nowhere]
            if tree is not None:
                asked = ablation.asked_of(tree)
                found = _with_ablations(point, tree, asked, schema, faults)
                ablating += [len(found)] if asked else []
                cells += [cell for cell in found if not (asked or nowhere) or cell not in cells]
    faults += [
        WinnowError("no choice of this sweep has such a part. Add one that has.", text.split("=")[0])
        for text in stray
        if text not in fits
    ]
    if ablating and max(ablating) < 2 and not faults:
        faults.append(WinnowError("no filter here has signals to leave out. Add one to the sweep.", ablation.KEY))
    if faults:
        raise WinnowErrors({str(fault): fault for fault in faults}.values())
    return cells, sweep or len(cells) > 1


def _with_ablations(
    point: list[str], tree: dict[str, Any], asked: Any, schema: type[Config], faults: list[WinnowError]
) -> list[ComposedCell[Config]]:
    """Return the cell of a tree, and after it those of the same filter less each signal that is asked for."""
    overrides = [text for text in point if parse(text).key_or_group != ablation.KEY]
    config = _check(tree, schema, faults)
    less = ablation.arms(tree, asked, faults) if asked else {}
    if config is None:
        return []
    cells = [ComposedCell(overrides=overrides, config=config)]
    for signal, arm in less.items():
        found: list[WinnowError] = []
        config = _check(arm, schema, found)
        faults += [WinnowError(fault.message, ablation.KEY) for fault in found]
        if config is not None:
            cells.append(ComposedCell(overrides=[*overrides, f"{ablation.KEY}=[{signal}]"], config=config))
    return cells


def read_cell(tree: dict[str, Any], overrides: Sequence[str], schema: type[Config]) -> ComposedCell[Config]:
    """Return the cell of a stored configuration, checked as if it was composed now.

    A value that is stored stays; one that is not gets the default of this version.

    Raises:
        WinnowErrors: All that no longer fits.
    """
    faults: list[WinnowError] = []
    config = _check(rename_tree(tree), schema, faults)
    if config is None:
        raise WinnowErrors({str(fault): fault for fault in faults}.values())
    return ComposedCell(overrides=list(overrides), config=config)


def _sweep_of_experiment(
    choices: Choices, command: str, searchpath: list[str], fixed: list[str]
) -> tuple[dict[str, str], bool]:
    """Read what an experiment file says of a sweep (`hydra.mode`, `hydra.sweeper.params`)."""
    from hydra import compose
    from hydra.types import RunMode

    known = [text for text in fixed if has_known_choice(choices, text, [])]
    overrides = [*searchpath, *(forced(choices, text) for text in known)]
    try:
        hydra_config = compose(command, overrides, return_hydra_config=True).hydra
    except Exception:
        return {}, False  # whatever is wrong is told when the cells are composed
    params = hydra_config.sweeper.get("params") or {}
    renamed = (rename_override(f"{key}={value}").partition("=") for key, value in params.items())
    return {key: value for key, _, value in renamed}, hydra_config.mode == RunMode.MULTIRUN


def _compose(
    choices: Choices, command: str, overrides: list[str], faults: list[WinnowError], shared: dict[tuple[str, ...], Any]
) -> dict[str, Any] | None:
    """Return the resolved tree of one cell.

    Hydra spends most of its time on the files, which most cells of a sweep have in common; `shared` keeps what came of
    them, and the plain values that a cell changes are then set in a copy, in the order and way that Hydra sets them.
    """
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    given = [forced(choices, text) for text in overrides]
    # A value that stands before a `+` or `~` has to be set before it too; where a group stands is all the same.
    last = max((i for i, text in enumerate(given) if text.startswith(("+", "~")) and text[:2] != "++"), default=-1)
    values = [text for text in given[last + 1 :] if is_plain_value(choices, text)]
    rest = tuple(text for i, text in enumerate(given) if i <= last or text not in values)
    try:
        if rest not in shared:
            shared[rest] = _with_current_names(compose(command, list(rest)))
        config = copy.deepcopy(shared[rest])
        for text in values:
            set_value(config, text)
        tree = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        key = getattr(error, "full_key", None) or "conf"
        faults.append(WinnowError(re.sub(r"\s+", " ", str(error)).strip(), key))
        return None
    return rename_tree(tree)  # type: ignore[arg-type]  # the root of a composed configuration is a mapping


def _with_current_names(config: DictConfig) -> DictConfig:
    """Rename what the files of a user still call by an old name, before the values of a cell are set."""
    from omegaconf import OmegaConf

    tree: Any = OmegaConf.to_container(config, resolve=False)
    renamed = rename_tree(tree)
    return config if renamed == tree else OmegaConf.create(renamed)


def _compose_where_it_fits(
    choices: Choices,
    command: str,
    searchpath: list[str],
    overrides: list[str],
    faults: list[WinnowError],
    shared: dict[tuple[str, ...], Any],
    sweep: bool,
) -> tuple[dict[str, Any] | None, list[str]]:
    """Compose a cell; in a sweep a choice for a part that this cell's groups do not have is left out, and returned.

    So `filter=full,random_matched filter@filter.of=praise` says what the control matches, and `full` has no such part.
    """
    nowhere: list[str] = []
    while True:
        missed: list[WinnowError] = []
        left = [text for text in overrides if text not in nowhere]
        tree = _compose(choices, command, [*searchpath, *left], missed, shared)
        place = re.search(r"Could not override '([^']+@[^']+)'", missed[0].message) if missed and sweep else None
        found = [text for text in left if place and text.startswith(f"{place[1]}=")]
        if not found:
            faults += missed
            return tree, nowhere
        nowhere += found


def _check(tree: dict[str, Any], schema: type[Config], faults: list[WinnowError]) -> Config | None:
    """Return the typed and completed configuration of a composed tree, or `None` with all errors added to `faults`."""
    before = len(faults)
    faults.extend(missing_values(tree))
    known = {fault.key for fault in faults[before:]}
    found: list[WinnowError] = []
    complete = resolve(tree, tree.get("allow_targets") or [], found)
    faults.extend(fault for fault in found if fault.key not in known)
    config = validate(complete, schema, faults)
    return config if len(faults) == before else None
