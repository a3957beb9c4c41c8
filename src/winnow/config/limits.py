"""Limit the size of config files and configurations.

Files are checked before their aliases are expanded. Interpolations are counted while they are resolved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from winnow.errors import WinnowError

MAX_FILE_BYTES: Final = 2**20
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 50_000
MAX_OVERRIDE_CHARACTERS: Final = 100_000
MAX_INTERPOLATIONS: Final = 2_000
"""Maximum number of interpolations to resolve, counting an interpolation each time it is resolved."""

MAX_INTERPOLATED_CHARACTERS: Final = 2**20
"""Maximum length of all strings that interpolations produce."""

MAX_CELLS: Final = 10_000
"""Maximum number of cells in a sweep."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_config_file(file: Path) -> None:
    """Check a YAML file without expanding its aliases.

    Raises:
        WinnowError: If the file is too large, is not UTF-8 text, does not contain a mapping, is nested too
            deeply, has an alias within its own anchor, or has too many values after its aliases are expanded. The
            error's key is the name of the file.
        yaml.YAMLError: If the file is not valid YAML.
    """
    key = f"{file.parent.name}/{file.name}"
    if file.stat().st_size > MAX_FILE_BYTES:
        raise WinnowError(
            f"the config file has more than {MAX_FILE_BYTES:,} bytes. Move its data to a separate "
            "file, and set the path of that file instead.",
            key,
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WinnowError(
            f"the config file is not UTF-8 text (byte {error.start:,}). Save it as UTF-8.", key
        ) from error
    if problem := _find_yaml_problem(text):
        raise WinnowError(problem, key)


def _find_yaml_problem(text: str) -> str | None:
    """Return a description of the first problem in the structure of a YAML text, or `None` if there is none.

    The values of expanded aliases are counted without expanding them, because a few lines of nested aliases can expand
    to billions of values.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    value_count = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                return f"the value &{event.anchor} contains itself. Remove the alias *{event.anchor}."
            value_count += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, count_before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = value_count - count_before
        elif isinstance(event, yaml.NodeEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            if value_count == 0 and not is_mapping and getattr(event, "value", None) != "":
                return "expected a mapping of keys to values. Write `key: value` lines."
            value_count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, value_count - 1))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_nodes) > MAX_DEPTH:
            return f"the values are nested more than {MAX_DEPTH} levels deep. Use fewer levels."
        if value_count > MAX_VALUES:
            return f"the file has more than {MAX_VALUES:,} values, including those of expanded aliases. Remove some."
    return None


def find_size_errors(tree: Any) -> Iterator[WinnowError]:
    """Yield an error if a composed tree is nested too deeply or has too many values."""
    level: list[tuple[str, Any]] = [("", tree)]
    value_count = 0
    for _ in range(MAX_DEPTH):
        next_level: list[tuple[str, Any]] = []
        for key, node in level:
            items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            next_level += [(f"{key}.{name}" if key else str(name), item) for name, item in items]
        value_count += len(next_level)
        if value_count > MAX_VALUES:
            yield WinnowError(
                f"the configuration has more than {MAX_VALUES:,} values. Remove some.", _find_top_key(level[-1][0])
            )
            return
        level = next_level
    if level:
        message = f"the value is nested more than {MAX_DEPTH} levels deep. Use fewer levels."
        yield WinnowError(message, _find_top_key(level[0][0]))


def _find_top_key(key: str) -> str:
    return ".".join(key.split(".")[:2]) or "conf"


@contextmanager
def limited_interpolation() -> Iterator[None]:
    """Limit the number and the results of the interpolations, such as `${seed}`, that OmegaConf resolves in the block.

    A few lines such as `b: ${a}${a}` and `c: ${b}${b}` can expand to billions of values. OmegaConf has no limit, so the
    method that resolves all interpolations is replaced temporarily.

    Raises:
        omegaconf.errors.InterpolationResolutionError: If a limit is exceeded.
    """
    from omegaconf.base import Container
    from omegaconf.errors import InterpolationResolutionError

    resolve = Container.resolve_parse_tree
    count = characters = 0

    def resolve_with_limit(container: Container, *arguments: Any, **options: Any) -> Any:
        nonlocal count, characters
        count += 1
        if count <= MAX_INTERPOLATIONS and characters <= MAX_INTERPOLATED_CHARACTERS:
            result = resolve(container, *arguments, **options)
            characters += len(result) if isinstance(result, str) else 0
            return result
        raise InterpolationResolutionError(
            f"the interpolations expand to more than {MAX_INTERPOLATIONS:,} values or "
            f"{MAX_INTERPOLATED_CHARACTERS:,} characters. Refer to fewer values that are interpolations themselves."
        )

    Container.resolve_parse_tree = resolve_with_limit  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Container.resolve_parse_tree = resolve  # type: ignore[method-assign]
