"""The store, the life of a run, and what a run leaves behind."""

from winnow.tracking.attempts import Attempt, attempts
from winnow.tracking.life import track
from winnow.tracking.run import TrackedRun
from winnow.tracking.stale import close_stale_runs
from winnow.tracking.store import Store
from winnow.tracking.sync import sync

__all__ = ["Attempt", "Store", "TrackedRun", "attempts", "close_stale_runs", "sync", "track"]
