"""Compose the configuration of every cell with Hydra, and report all errors together.

Hydra stops at the first error. To report all errors, this module first checks the selected option of each config group.
It then applies other overrides with `++`, and validates the composed config against the schema and the signature of
each `_target_`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from winnow.config import ablation
from winnow.config.arm_names import name_arm
from winnow.config.deprecated import rename_deprecated_keys, rename_deprecated_override
from winnow.config.factors import add_factor_levels, find_swept_factors
from winnow.config.file_composition import SharedFiles, compose_files, convert_composition_error, find_shared_files
from winnow.config.filter_overrides import FilterSettingSelector, expand_fraction_override, find_swept_filter_keys
from winnow.config.limits import find_size_errors, limited_interpolation
from winnow.config.optimizer_check import check_optimizers
from winnow.config.overrides import (
    apply_override,
    drop_sweep_overrides,
    expand_sweep,
    has_known_option,
    is_parsable,
    is_supported_override,
    parse_override,
)
from winnow.config.permissions import (
    ALLOW_TARGETS,
    Permissions,
    build_permission_error,
    extract_permissions,
    is_permission,
    read_user_permissions,
)
from winnow.config.plain_data import to_plain_data
from winnow.config.search_path import (
    GroupOptions,
    check_config_folders,
    initialized_hydra,
    list_group_options,
    searchpath_override,
)
from winnow.config.seed_templates import SeedTemplates
from winnow.config.target_defaults import CompletedNodes, fill_target_defaults
from winnow.config.targets import allowed_packages
from winnow.config.validate import find_missing_values, validate_against_schema
from winnow.errors import WinnowError, WinnowErrors

Config = TypeVar("Config")


@dataclass(frozen=True)
class ComposedCell(Generic[Config]):
    """A composed and validated configuration of one run, with all defaults filled in.

    Attributes:
        overrides: The Hydra overrides from the user, with one value for each key of the sweep.
        config: The validated configuration, as an instance of the schema class of the command.
    """

    overrides: list[str]
    config: Config

    @property
    def config_dict(self) -> dict[str, Any]:
        """The configuration as a nested dict of plain values, for printing, tracking and storage."""
        config_dict: dict[str, Any] = to_plain_data(self.config)
        return config_dict


def compose_cells(
    command: str,
    schema: type[Config],
    arguments: Sequence[str],
    multirun: bool = False,
    config_dirs: Sequence[Path] = (),
    prints_only: bool = False,
    named_keys: Sequence[str] = (),
) -> tuple[list[ComposedCell[Config]], bool]:
    """Compose one configuration, or one for each point of a sweep.

    Args:
        command: Name of the command's primary config in `conf/`, such as `train`.
        schema: The dataclass that defines the keys and types of the configuration.
        arguments: Hydra overrides as entered by the user, such as `filter=full,nike_positive`.
        multirun: Whether commas define a sweep. An experiment can also start a sweep with `hydra.mode: MULTIRUN`.
        config_dirs: Folders to add to the search path after the local `./conf`.
        prints_only: Whether the cells are only printed. If so, no optimizer is constructed to check its arguments.
        named_keys: Filter keys, such as `filter.keep`, whose values are part of the arm's name even if the key has
            only one value.

    Returns:
        The cells in the order of the sweep, and whether the cells are a sweep rather than a single run.

    Raises:
        WinnowErrors: If any cell is invalid. The exception contains the errors of all cells, without duplicates.
    """
    arguments = [expand_fraction_override(rename_deprecated_override(text)) for text in arguments]
    errors: list[WinnowError] = list(check_config_folders(config_dirs))
    choices = list_group_options(config_dirs)
    shared = find_shared_files(command, config_dirs)
    with initialized_hydra():
        readable = [
            text for text in arguments if is_parsable(text, errors) and is_supported_override(text, command, errors)
        ]
        permissions, readable = extract_permissions(readable, errors)
        searchpath = searchpath_override(config_dirs)
        fixed = [text for text in readable if not parse_override(text).is_sweep_override()]
        params, experiment_sweeps = _read_experiment_sweep(choices, command, searchpath, fixed, shared)
        sweep = multirun or experiment_sweeps
        errors += [build_permission_error(ALLOW_TARGETS) for key in params if is_permission(key)]
        params = {key: value for key, value in params.items() if not is_permission(key)}
        points = expand_sweep(readable, params, choices, errors) if sweep else [drop_sweep_overrides(readable, errors)]
        cells: list[ComposedCell[Config]] = []
        completed_nodes: CompletedNodes = {}
        ablating = []
        applied: list[str] = []
        unused: dict[str, None] = {}
        # The selector's composition errors are discarded: the same errors are reported when the cells are composed.
        selector = FilterSettingSelector(
            points,
            choices,
            permissions.packages,
            lambda texts: _compose_applicable(choices, command, searchpath, texts, [], shared, True)[0],
        )
        swept_keys = [
            *(find_swept_filter_keys(points) if sweep else []),
            *(key.removeprefix("filter.") for key in named_keys),
        ]
        factors = find_swept_factors(points) if sweep else []
        composed: set[tuple[str, ...]] = set()
        templates = SeedTemplates(choices)
        for point in points:
            known = selector.select([text for text in point if has_known_option(choices, text, errors)])
            if tuple(known) in composed:
                continue  # this cell differs from an earlier cell only in settings that do not apply to its filter
            composed.add(tuple(known))
            if (copied := templates.copy_cells(known)) is not None:
                cells += copied
                continue
            tree, inapplicable = _compose_applicable(choices, command, searchpath, known, errors, shared, sweep)
            applied += [text for text in known if "@" in text and text not in inapplicable]
            unused |= dict.fromkeys(inapplicable)
            point = [text for text in known if text not in inapplicable]
            if tree is not None:
                requested = ablation.pop_ablate(tree)
                name_arm(tree, point, swept_keys, permissions.packages)
                add_factor_levels(tree, point, factors)
                new_cells = _build_cells_with_ablations(
                    point, tree, requested, schema, permissions, errors, completed_nodes
                )
                if not (requested or inapplicable):
                    templates.add_cells(known, new_cells)
                ablating += [len(new_cells)] if requested else []
                cells += [cell for cell in new_cells if not (requested or inapplicable) or cell not in cells]
    if not prints_only:
        errors += _check_optimizers(completed_nodes, permissions)
    errors += selector.find_unused_settings()
    errors += [
        WinnowError(
            f"the override {text!r} applies to no option in this sweep. Add an option that has the key "
            f"{text.split('=')[0].partition('@')[2]!r}, or remove the override.",
            text.split("=")[0],
        )
        for text in unused
        if text not in applied
    ]
    if ablating and max(ablating) < 2 and not errors:
        errors.append(
            WinnowError(
                "no filter in this sweep has signals to leave out. Add a filter with signals, such as "
                f"filter=nike_positive, or remove {ablation.ABLATE_KEY}.",
                ablation.ABLATE_KEY,
            )
        )
    if errors:
        raise WinnowErrors({str(error): error for error in errors}.values())
    return cells, sweep or len(cells) > 1


def _build_cells_with_ablations(
    point: list[str],
    tree: dict[str, Any],
    requested: Any,
    schema: type[Config],
    permissions: Permissions,
    errors: list[WinnowError],
    completed_nodes: CompletedNodes,
) -> list[ComposedCell[Config]]:
    """Return the cell for a composed config, followed by the cells of its leave-one-out arms."""
    overrides = [text for text in point if parse_override(text).key_or_group != ablation.ABLATE_KEY]
    config = _validate_config(tree, schema, permissions, errors, completed_nodes)
    arms = ablation.build_ablation_configs(tree, requested, errors) if requested else {}
    if config is None:
        return []
    cells = [ComposedCell(overrides=overrides, config=config)]
    for signal, arm in arms.items():
        arm_errors: list[WinnowError] = []
        config = _validate_config(arm, schema, permissions, arm_errors, completed_nodes)
        errors += [WinnowError(error.message, ablation.ABLATE_KEY) for error in arm_errors]
        if config is not None:
            cells.append(ComposedCell(overrides=[*overrides, f"{ablation.ABLATE_KEY}=[{signal}]"], config=config))
    return cells


def restore_cell(
    tree: dict[str, Any], overrides: Sequence[str], schema: type[Config], permissions: Permissions | None = None
) -> ComposedCell[Config]:
    """Validate a stored configuration and return its cell.

    Keys that are missing from the stored configuration are set to the current defaults. The stored `allow_targets` is
    ignored, because a stored configuration must not control which code is executed.

    Args:
        tree: The stored configuration.
        overrides: The overrides of the stored configuration.
        schema: The dataclass that defines the keys and types of the configuration.
        permissions: The code that the user permits; by default, the permissions in the user's settings file.

    Raises:
        WinnowErrors: If any stored value is invalid in this version of Winnow. The exception contains one error per
            invalid value.
    """
    errors: list[WinnowError] = []
    tree = {name: value for name, value in rename_deprecated_keys(tree).items() if name != ALLOW_TARGETS}
    permissions = permissions or read_user_permissions()
    completed_nodes: CompletedNodes = {}
    config = _validate_config(tree, schema, permissions, errors, completed_nodes)
    errors += _check_optimizers(completed_nodes, permissions)
    if config is None or errors:
        raise WinnowErrors({str(error): error for error in errors}.values())
    return ComposedCell(overrides=list(overrides), config=config)


def _read_experiment_sweep(
    choices: GroupOptions, command: str, searchpath: list[str], fixed: list[str], shared: SharedFiles
) -> tuple[dict[str, str], bool]:
    """Return the `hydra.sweeper.params` of an experiment file, and whether its `hydra.mode` is `MULTIRUN`."""
    from hydra.types import RunMode

    known = [text for text in fixed if has_known_option(choices, text, [])]
    try:
        with limited_interpolation():
            files, _ = compose_files(choices, command, [*searchpath, *known], shared)
            params = dict(files.sweep_params or {})
    except Exception:
        return {}, False  # the same error is reported when the cells are composed
    renamed = (
        expand_fraction_override(rename_deprecated_override(f"{key}={value}")).partition("=")
        for key, value in params.items()
    )
    return {key: value for key, _, value in renamed}, files.mode == RunMode.MULTIRUN


def _compose_config(
    choices: GroupOptions,
    command: str,
    overrides: list[str],
    errors: list[WinnowError],
    shared: SharedFiles,
) -> dict[str, Any] | None:
    """Return the composed config of one cell with all interpolations resolved, or `None` if composition fails."""
    from omegaconf import OmegaConf

    try:
        with limited_interpolation():
            files, values = compose_files(choices, command, overrides, shared)
            config = files.copy_config()
            for text in values:
                apply_override(config, text)
            tree = OmegaConf.to_container(config, resolve=True)
    except Exception as error:  # Hydra also raises errors of YAML and of built-in types for invalid files
        errors.append(convert_composition_error(error))
        return None
    if size_errors := list(find_size_errors(tree)):
        errors += size_errors
        return None
    return rename_deprecated_keys(tree)  # type: ignore[arg-type]  # the root of a composed config is a mapping


def _compose_applicable(
    choices: GroupOptions,
    command: str,
    searchpath: list[str],
    overrides: list[str],
    errors: list[WinnowError],
    shared: SharedFiles,
    sweep: bool,
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the composed config of a cell and the `group@key=option` overrides that do not apply to the cell.

    For example, in the sweep `filter=full,random_matched filter@filter.of=praise`, the second override applies only to
    `random_matched`, since `full` has no key `of`. In a single run, such an override is an error.
    """
    inapplicable: list[str] = []
    while True:
        new_errors: list[WinnowError] = []
        applicable = [text for text in overrides if text not in inapplicable]
        tree = _compose_config(choices, command, [*searchpath, *applicable], new_errors, shared)
        match = (
            re.search(r"Could not override '([^']+@[^']+)'", new_errors[0].message) if new_errors and sweep else None
        )
        unmatched = [text for text in applicable if match and text.startswith(f"{match[1]}=")]
        if not unmatched:
            errors += new_errors
            return tree, inapplicable
        inapplicable += unmatched


def _validate_config(
    tree: dict[str, Any],
    schema: type[Config],
    permissions: Permissions,
    errors: list[WinnowError],
    completed_nodes: CompletedNodes,
) -> Config | None:
    """Validate a composed config and return it as a `schema` instance with all defaults, or `None` if it is invalid."""
    error_count = len(errors)
    errors.extend(permissions.check_config(tree))
    tree = {**tree, ALLOW_TARGETS: list(permissions.packages)}
    errors.extend(find_missing_values(tree))
    known = {error.key for error in errors[error_count:]}
    new_errors: list[WinnowError] = []
    complete = fill_target_defaults(tree, permissions.packages, new_errors, completed_nodes)
    errors.extend(error for error in new_errors if error.key not in known)
    invalid: list[WinnowError] = []
    config = validate_against_schema(complete, schema, invalid)
    errors.extend(error for error in invalid if error.key not in known)
    return config if len(errors) == error_count else None


def _check_optimizers(completed_nodes: CompletedNodes, permissions: Permissions) -> list[WinnowError]:
    """Construct the optimizer of every valid node for dummy parameters, and return the errors."""
    nodes = [node for (key, _), node in completed_nodes.items() if key == "optimizer"]
    return check_optimizers(nodes, allowed_packages(permissions.packages))
