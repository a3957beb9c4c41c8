"""The store, the life of a run, and what a run leaves behind."""

from winnow.tracking.run import TrackedRun, track
from winnow.tracking.store import Store

__all__ = ["Store", "TrackedRun", "track"]
