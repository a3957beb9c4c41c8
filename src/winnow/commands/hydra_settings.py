"""Check the code that Hydra itself would run: callbacks, launchers, sweepers and log handlers in the `hydra` node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from omegaconf import OmegaConf

from winnow.config.permissions import read_user_permissions
from winnow.errors import WinnowError

CODE_SETTINGS: Final = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
CODE_KEYS: Final = ("_target_", "()", "class")
LOG_STREAMS: Final = ("ext://sys.stdout", "ext://sys.stderr")
ALLOWED_PREFIXES: Final = (
    "hydra.experimental.callbacks", "hydra._internal.core_plugins", "hydra_plugins", "logging", "colorlog",
    "optuna.samplers", "optuna.pruners",
)  # fmt: skip
"""Prefixes of the allowed modules: those of Hydra, its plugins and log handlers."""


def check_hydra_settings(settings: Any) -> list[WinnowError]:
    """Return an error for each class or function in Hydra's settings that is not allowed.

    Args:
        settings: The composed `hydra` node.
    """
    allowed = (*ALLOWED_PREFIXES, *read_user_permissions().packages)
    errors = []
    for name in CODE_SETTINGS:
        tree = OmegaConf.to_container(settings[name], resolve=False) if settings.get(name) is not None else {}
        for key, path in _find_code_paths(tree, f"hydra.{name}"):
            module = path.rpartition(".")[0]
            is_allowed = any(module == prefix or module.startswith(f"{prefix}.") for prefix in allowed)
            if not is_allowed or module == "logging.config":
                message = f"{path!r} is not an allowed class or function. Allowed: members of {', '.join(allowed)}."
                errors.append(WinnowError(f"{message} Remove it from the config file.", key))
    return errors


def _find_code_paths(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the key and value of every entry that names a class or a function."""
    if isinstance(value, str) and value.startswith("ext://") and value not in LOG_STREAMS:  # logging imports this path
        yield key, value.removeprefix("ext://")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _find_code_paths(item, f"{key}.{i}")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name in CODE_KEYS:
                yield f"{key}.{name}", str(item)
            else:
                yield from _find_code_paths(item, f"{key}.{name}")
