"""Read which external code the user permits, on the command line or in the settings file.

Config files and stored configurations are often shared. They can therefore refer to external code, but not permit it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow.config.overrides import parse_override
from winnow.errors import WinnowError, WinnowErrors

ALLOW_TARGETS: Final = "allow_targets"
TRUST_REMOTE_CODE: Final = "model.trust_remote_code"
PERMISSION_KEYS: Final = (ALLOW_TARGETS, TRUST_REMOTE_CODE)
"""The configuration keys that permit code to run."""

SETTINGS_KEYS: Final = ("allow_targets", "trust_remote_code")
"""The keys of the settings file."""

REFUSED_PACKAGES: Final = frozenset(sys.stdlib_module_names) | {
    "cloudpickle", "dill", "fire", "hydra", "invoke", "joblib", "jsonargparse", "loky", "omegaconf", "pexpect", "pip",
    "pkg_resources", "plumbum", "psutil", "ptyprocess", "setuptools", "sh",
}  # fmt: skip
"""The standard library and other packages that run commands or load code. Their classes must not be targets."""


@dataclass(frozen=True)
class Permissions:
    """The code that a configuration may use in addition to Winnow's own code and installed plugins.

    Attributes:
        packages: Packages whose classes and functions may be a `_target_`.
        any_remote_code: Whether any model may run code from its repository (`model.trust_remote_code=true`).
        remote_models: The models that may run code from their repositories.
    """

    packages: tuple[str, ...] = ()
    any_remote_code: bool = False
    remote_models: tuple[str, ...] = ()

    def check_config(self, tree: Mapping[str, Any]) -> list[WinnowError]:
        """Return an error for each permission that a composed config sets itself but that the user did not give."""
        errors = []
        if tree.get(ALLOW_TARGETS):
            errors.append(build_permission_error(ALLOW_TARGETS))
        model = tree.get("model")
        model = model if isinstance(model, Mapping) else {}
        is_permitted = self.any_remote_code or model.get("name") in self.remote_models
        if model.get("trust_remote_code") not in (None, False) and not is_permitted:
            errors.append(build_permission_error(TRUST_REMOTE_CODE))
        return errors


def find_settings_file() -> Path:
    """Return the path of the user's settings file, `~/.config/winnow/settings.yaml` unless `XDG_CONFIG_HOME` is set."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "winnow" / "settings.yaml"


def read_user_permissions(packages: Iterable[str] = ()) -> Permissions:
    """Return the permissions in the user's settings file.

    Args:
        packages: Packages from the command line, which are added to those in the file.

    Raises:
        WinnowErrors: If the file is invalid, or if a package is not allowed.
    """
    settings = _read_settings()
    listed = tuple(dict.fromkeys([*settings["allow_targets"], *packages]))
    if errors := check_packages(listed):
        raise WinnowErrors(errors)
    return Permissions(listed, remote_models=tuple(settings["trust_remote_code"]))


def extract_permissions(arguments: Sequence[str], errors: list[WinnowError]) -> tuple[Permissions, list[str]]:
    """Return the user's permissions and the remaining overrides, from which `allow_targets` is removed.

    Args:
        arguments: The command-line overrides, which Hydra must be able to parse.
        errors: A list to which errors are added.
    """
    packages: list[str] = []
    remaining = []
    for text in arguments:
        if not is_permission(text):
            remaining.append(text)
            continue
        value = parse_override(text).value() if text.lstrip("+").startswith(f"{ALLOW_TARGETS}=") else None
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            packages += value
        else:
            message = "expected a list of packages in one argument, as in allow_targets=[my_package]."
            errors.append(WinnowError(message, ALLOW_TARGETS))
    any_remote_code = any(
        override.key_or_group == TRUST_REMOTE_CODE and override.value() is True
        for override in map(parse_override, remaining)
    )
    try:
        permissions = read_user_permissions(packages)
    except WinnowErrors as error:
        errors += error.errors
        return Permissions(any_remote_code=any_remote_code), remaining
    return Permissions(permissions.packages, any_remote_code, permissions.remote_models), remaining


def is_permission(text: str) -> bool:
    """Return whether an override sets `allow_targets` or one of its items."""
    return re.split(r"[\s.@=]", text.lstrip("+~"))[0] == ALLOW_TARGETS


def check_packages(packages: Iterable[str]) -> list[WinnowError]:
    """Return an error for each package that is never allowed and for each invalid package name."""
    errors = []
    for name in packages:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
            errors.append(WinnowError(f"{name!r} is not a valid package name. Correct the name.", ALLOW_TARGETS))
        elif is_refused(name):
            message = f"{name!r} is never allowed, because its classes can run any command or change any file."
            errors.append(WinnowError(f"{message} List only your own packages.", ALLOW_TARGETS))
    return errors


def is_refused(path: str) -> bool:
    """Return whether a module belongs to a package that is never allowed.

    >>> is_refused("os.path"), is_refused("my_package.os")
    (True, False)
    """
    return path.partition(".")[0] in REFUSED_PACKAGES


def _read_settings() -> dict[str, list[str]]:
    import yaml

    file = find_settings_file()
    settings: dict[str, list[str]] = {key: [] for key in SETTINGS_KEYS}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return settings
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise WinnowErrors([WinnowError(f"cannot read the file ({reason}). Fix or remove it.", str(file))]) from error
    if not isinstance(content, dict | None):
        raise WinnowErrors(
            [
                WinnowError(
                    f"expected a mapping with the keys {' and '.join(SETTINGS_KEYS)}. Correct the file.", str(file)
                )
            ]
        )
    errors = []
    for key, value in (content or {}).items():
        if key not in SETTINGS_KEYS:
            message = f"unknown key. Allowed: {', '.join(SETTINGS_KEYS)}. Remove the key."
            errors.append(WinnowError(message, f"{file}: {key}"))
        elif not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            errors.append(
                WinnowError(f"expected a list of names, got {value!r:.80}. Correct the value.", f"{file}: {key}")
            )
        else:
            settings[key] = value
    if errors:
        raise WinnowErrors(errors)
    return settings


def build_permission_error(key: str) -> WinnowError:
    """Build the error for a config file or a stored configuration that permits code to run."""
    override = f"{ALLOW_TARGETS}=[PACKAGE]" if key == ALLOW_TARGETS else f"{TRUST_REMOTE_CODE}=true"
    message = "a config file cannot permit code to run. If you trust the code, permit it yourself"
    return WinnowError(f"{message}, with {override} on the command line or in {find_settings_file()}.", key)
