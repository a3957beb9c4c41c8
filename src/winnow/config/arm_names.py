"""Name the arms of a sweep after the filter and the swept filter settings.

In the sweep `filter=cheerful filter.signals.mood.at_least=0.2,0.4`, the second arm has the name
`cheerful-mood.at_least-0.4` and the label `cheerful[mood.at_least=0.4]`. The name is valid in paths, tags and metric
names; the label is displayed in reports. Both depend only on the arm itself, so they stay the same if values are added
to the sweep.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from winnow.config.filter_overrides import find_filter_key
from winnow.config.overrides import parse_override
from winnow.config.targets import allowed_packages, import_target, signature_parameters

MAX_VALUE_CHARACTERS = 40
"""The maximum length of a setting's value in the name and the label of an arm."""

MAX_NAME_CHARACTERS = 80
"""The maximum length of an automatic name, which leaves space for the suffixes of controls and ablations."""

HASH_BYTES = 4

_KEYS_WITHOUT_SETTINGS = ("name", "label")


def name_arm(
    tree: Mapping[str, Any], overrides: Iterable[str], swept_keys: Sequence[str], allow: Iterable[str]
) -> None:
    """Add the swept filter settings to the name and the label of the filter in a composed config, in place.

    Args:
        tree: The composed config of a cell.
        overrides: The overrides that apply to the cell.
        swept_keys: The filter keys that have several values in the sweep, without the prefix `filter.`.
        allow: Packages whose classes the user permits as targets.
    """
    node = tree.get("filter")
    if not isinstance(node, dict):
        return
    settings: dict[str, str] = {}
    base_settings: dict[str, str] = {}
    for text in overrides:
        key = find_filter_key(text)
        if key is None or key in _KEYS_WITHOUT_SETTINGS or not {key, key.removeprefix("of.")} & set(swept_keys):
            continue
        is_group = parse_override(text).package is not None
        value = parse_override(text).value() if is_group else look_up(node, key.split("."))
        settings[_shorten_key(key)] = format_value(value)
        if key.startswith("of."):
            base_settings[_shorten_key(key)] = format_value(value)
    allowed = allowed_packages(allow)
    _set_name(node, settings, allowed)
    if isinstance(node.get("of"), dict):
        _set_name(node["of"], base_settings, allowed)


def format_label(name: str, settings: Mapping[str, str]) -> str:
    """Return the label of an arm.

    >>> format_label("cheerful", {"mood.at_least": "0.4", "on_null": "keep"})
    'cheerful[mood.at_least=0.4, on_null=keep]'
    """
    listed = ", ".join(f"{key}={_shorten(value)}" for key, value in settings.items())
    return f"{name}[{listed}]" if settings else name


def format_name(name: str, settings: Mapping[str, str]) -> str:
    """Return the name of an arm, which consists of letters, digits, dots, hyphens and underscores.

    A value with other characters is followed by a hash, because different values could otherwise have the same name.

    >>> format_name("cheerful", {"mood.at_least": "0.4", "on_null": "keep"})
    'cheerful-mood.at_least-0.4-on_null-keep'
    >>> format_name("cheerful", {"keep": "praise & ~blame"})
    'cheerful-keep-praise_blame-ec4bc18f'
    """
    text = "-".join([name, *(f"{_to_safe_text(key)}-{_to_safe_text(value)}" for key, value in settings.items())])
    return (
        text
        if len(text) <= MAX_NAME_CHARACTERS
        else f"{text[: MAX_NAME_CHARACTERS - 2 * HASH_BYTES - 1]}-{_hash(text)}"
    )


def format_value(value: Any) -> str:
    """Return a setting's value as text. Equal numbers have equal texts.

    >>> [format_value(value) for value in (0.0, 0, 0.25, True, None, ["a", "b"])]
    ['0', '0', '0.25', 'true', 'null', '[a,b]']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    return json.dumps(value, sort_keys=True, default=str)


def _set_name(node: dict[str, Any], settings: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Add settings to the name and the label of a node if its `_target_` has the arguments `name` and `label`."""
    target = import_target(str(node.get("_target_")), "filter._target_", allowed, [])
    parameters = {parameter.name: parameter for parameter in signature_parameters(target)} if target else {}
    if not settings or "name" not in parameters:
        return
    default = parameters["name"].default
    name = node.get("name", None if default is inspect.Parameter.empty else default)
    if not isinstance(name, str):
        return
    if "label" in parameters:
        node["label"] = format_label(node.get("label") or name, settings)
    node["name"] = format_name(name, settings)


def look_up(node: Any, path: Sequence[str]) -> Any:
    """Return the value at a key of a nested mapping, or `None` if the key does not exist, for example after `~key`."""
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _shorten_key(key: str) -> str:
    """Return a filter key without the prefixes `of.`, `signals.`, `parts.` and `sweep.`.

    >>> [_shorten_key(key) for key in ("of.signals.mood.at_least", "parts.positive", "sweep.mood", "of")]
    ['mood.at_least', 'positive', 'mood', 'of']
    """
    return re.sub(r"^(signals|parts|sweep)\.", "", key.removeprefix("of."))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 3]}..."


def _to_safe_text(text: str) -> str:
    text = re.sub(r"^([\d.]+)%$", r"\1pct", text)
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_")[:MAX_VALUE_CHARACTERS]
    if safe == text:
        return safe
    return f"{safe}-{_hash(text)}" if safe else _hash(text)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest()
