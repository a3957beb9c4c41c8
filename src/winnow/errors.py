"""Exceptions for errors that the user can fix. Each error is reported in one paragraph, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WinnowError(Exception):
    """An error in the configuration, the data or the environment that the user can fix.

    Args:
        message: One paragraph that says what is wrong, which values are allowed and how to fix the error.
        key: The configuration key of the invalid value, relative to the object that raises the error, such as ``path``
            or ``sources.reviews.path``. The caller adds the key of this object with :meth:`with_prefix`.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.key = key

    def with_prefix(self, prefix: str) -> WinnowError:
        """Return a copy of this error with ``prefix`` prepended to its key."""
        return WinnowError(self.message, f"{prefix}.{self.key}" if self.key else prefix)

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class WinnowErrors(WinnowError):
    """An exception that combines several errors, so that they are reported together."""

    def __init__(self, errors: Iterable[WinnowError]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class RunPruned(Exception):
    """Stops a run of a search whose scores are worse than those of other trials. The run is KILLED, not FAILED.

    Args:
        step: The number of completed optimizer steps.
        metric: The metric that was compared.
    """

    def __init__(self, step: int, metric: str) -> None:
        super().__init__(f"pruned at step {step}: {metric} is worse than in half of the complete trials")
        self.step = step


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest option, or an empty string if no option is close.

    >>> did_you_mean("trianer", ["trainer", "model"])
    " Did you mean 'trainer'?"
    """
    matches = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
