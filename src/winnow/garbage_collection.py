"""Set how often Python's garbage collector runs."""

from __future__ import annotations

import gc
from typing import Final

DEFAULT_THRESHOLDS: Final = gc.get_threshold()

RARE_THRESHOLD: Final = 1_000_000


def collect_garbage_rarely() -> None:
    """Run the collector after 1,000,000 instead of 700 new objects.

    Imports, Hydra, MLflow and matplotlib create millions of objects, few of which are garbage in reference cycles.
    Looking for such garbage takes a sixth of the CPU time of a command that does not train. With a threshold of
    100,000, it still takes a tenth; the higher threshold needs 5 to 30 MB more.
    """
    gc.set_threshold(RARE_THRESHOLD, *DEFAULT_THRESHOLDS[1:])


def collect_garbage_normally() -> None:
    """Run the collector as often as Python does by default, because garbage may hold tensors in training."""
    gc.set_threshold(*DEFAULT_THRESHOLDS)
