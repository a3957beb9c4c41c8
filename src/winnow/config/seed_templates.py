"""Copy composed cells for other seeds, because composing the cells of every seed takes longer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from winnow.config.overrides import parse_override
from winnow.config.search_path import GroupOptions


class SeedTemplates:
    """Stores composed cells, from which the cells with the same overrides and other seeds are copied.

    Most of the time for planning a large sweep is spent on composing and validating configurations. Cells are copied
    only after a test with the same config files: a copy with another seed must equal the composed cell with that seed.
    The test fails for configurations in which another value depends on the seed.

    Args:
        choices: The options of each config group.
    """

    def __init__(self, choices: GroupOptions) -> None:
        self._choices = choices
        self._templates: dict[tuple[str, ...], list[Any]] = {}
        self._is_seed_independent: dict[tuple[str, ...], bool] = {}

    def copy_cells(self, overrides: Sequence[str]) -> list[Any] | None:
        """Return copies of stored cells for the overrides, or `None` if the cells must be composed."""
        key = _remove_seed(overrides)
        if key is None or key not in self._templates or not self._is_seed_independent.get(self._select_files(key)):
            return None
        return self._copy_with_seed(key, overrides)

    def add_cells(self, overrides: Sequence[str], cells: list[Any]) -> None:
        """Store the cells composed for one seed as the template for other seeds.

        If a template already exists, test instead whether its copy equals the composed cells. The result determines
        whether :meth:`copy_cells` may copy cells that use the same config files.
        """
        key = _remove_seed(overrides)
        if key is None or not cells:
            return
        if key not in self._templates:
            self._templates[key] = cells
        elif (files := self._select_files(key)) not in self._is_seed_independent:
            self._is_seed_independent[files] = self._copy_with_seed(key, overrides) == cells

    def _copy_with_seed(self, key: tuple[str, ...], overrides: Sequence[str]) -> list[Any]:
        (seed_override,) = (text for text in overrides if text not in key)
        seed = int(seed_override.partition("=")[2])
        return [
            dataclasses.replace(
                cell,
                overrides=[seed_override if _is_seed(text) else text for text in cell.overrides],
                config=dataclasses.replace(cell.config, seed=seed),
            )
            for cell in self._templates[key]
        ]

    def _select_files(self, key: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text for text in key if parse_override(text).key_or_group in self._choices)


def _remove_seed(overrides: Sequence[str]) -> tuple[str, ...] | None:
    """Return the overrides without the seed; `None` if there is no single seed or if a value may depend on the seed."""
    if sum(map(_is_seed, overrides)) != 1 or any("${" in text for text in overrides):
        return None
    return tuple(text for text in overrides if not _is_seed(text))


def _is_seed(text: str) -> bool:
    return re.fullmatch(r"seed=\d{1,9}", text) is not None
