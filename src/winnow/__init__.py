"""Winnow: filter the training data of a masked language model, and measure the effect with its uncertainty."""

import importlib
from typing import Any

__version__ = "0.3.0"
__all__ = ["Stream", "Study", "__version__", "read_corpus", "signal", "study", "train"]

_MODULES = {
    "Stream": "winnow.stream",
    "Study": "winnow.api",
    "read_corpus": "winnow.api",
    "signal": "winnow.filters",
    "study": "winnow.api",
    "train": "winnow.api",
}


def __getattr__(name: str) -> Any:
    """Import the public API on first use, so that the command line starts quickly."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
