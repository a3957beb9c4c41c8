"""Winnow: filter the training data of a masked language model, and measure the effect with its uncertainty."""

from typing import Any

__version__ = "0.3.0"
__all__ = ["Study", "__version__", "study"]


def __getattr__(name: str) -> Any:
    """Import the public API on first use, so that the command line starts quickly."""
    if name in ("Study", "study"):
        from winnow import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
