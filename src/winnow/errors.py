"""Errors that a user can mend, each told in one clear paragraph."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WinnowError(Exception):
    """Something the user gave that cannot work.

    Args:
        message: What was found, what is allowed and what to do, in one paragraph.
        key: The configuration key at fault, relative to the object that raises (``path``,
            ``sources.reviews.path``); whoever knows where the object stands adds the rest with :meth:`under`.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.key = key

    def under(self, prefix: str) -> WinnowError:
        """Return the same error with its key placed below ``prefix``."""
        return WinnowError(self.message, f"{prefix}.{self.key}" if self.key else prefix)

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class WinnowErrors(WinnowError):
    """Several faults found at once, so that the user can mend them all in one go."""

    def __init__(self, errors: Iterable[WinnowError]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest option, or an empty string where none is near.

    >>> did_you_mean("trianer", ["trainer", "model"])
    " Did you mean 'trainer'?"
    """
    near = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
