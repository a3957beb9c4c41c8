"""Giving rows to splits by the hash of their text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError

_Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Split:
    """A split that depends on a row's normalised text and on nothing else.

    A row stays in its split when rows are added, dropped or reordered, and equal texts always stay together.

    Attributes:
        validation_fraction: The share of rows to expect in ``validation``.
        test_fraction: The share of rows to expect in ``test``.
        salt: Hashed with the text; another salt makes another split.
    """

    validation_fraction: _Share = 0.1
    test_fraction: _Share = 0.1
    salt: str = "winnow"

    def __post_init__(self) -> None:
        if self.validation_fraction + self.test_fraction >= 1:
            raise WinnowError(
                f"Validation {self.validation_fraction} and test {self.test_fraction} leave no rows "
                "to train on; their sum must be below 1.",
                key="validation_fraction",
            )

    def assign(self, texts: Iterable[str]) -> list[str]:
        """Return ``train``, ``validation`` or ``test`` for each normalised text."""
        held_out = self.test_fraction + self.validation_fraction

        def name(text: str) -> str:
            share = self._share(text)
            return "test" if share < self.test_fraction else "validation" if share < held_out else "train"

        return [name(text) for text in texts]

    def _share(self, text: str) -> float:
        """Return a number in [0, 1) drawn by the hash of salt and text."""
        digest = hashlib.blake2b(f"{self.salt}\0{text}".encode(), digest_size=7).digest()
        return int.from_bytes(digest) / 2.0**56
