"""Experiment tracking: the MLflow store, the run lifecycle, and the data that each run logs."""

from winnow.tracking.offline.spool_sync import sync
from winnow.tracking.process.stale_runs import close_stale_runs
from winnow.tracking.run_lifecycle import track
from winnow.tracking.run_queries import Attempt, load_attempts
from winnow.tracking.store import Store
from winnow.tracking.tracked_run import TrackedRun

__all__ = ["Attempt", "Store", "TrackedRun", "close_stale_runs", "load_attempts", "sync", "track"]
