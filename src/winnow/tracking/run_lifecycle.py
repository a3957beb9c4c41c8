"""The run lifecycle: start, resume and end a run, with the correct status for every kind of exit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from winnow.errors import RunPruned, WinnowError
from winnow.tracking.keys import ATTEMPTS, HEARTBEAT, RUN_OWNER
from winnow.tracking.offline.request_timeouts import REQUEST_TIMEOUT_SECONDS, call_with_timeout
from winnow.tracking.offline.run_operations import clear_failure, is_missing_run_error, is_retryable_error
from winnow.tracking.offline.spool import PARENT_RUN_ID, Spool
from winnow.tracking.process.run_ownership import HEARTBEAT_INTERVAL_SECONDS, RunOwner, acquire_run
from winnow.tracking.process.stale_runs import termination_reason
from winnow.tracking.run_environment import MachineLoad, build_provenance_tags
from winnow.tracking.store import Store
from winnow.tracking.tracked_run import TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Run

SEND_INTERVAL_SECONDS = 5
"""Interval in seconds at which buffered metrics are sent; short enough to follow a run live in the MLflow UI."""


@contextmanager
def track(
    store: Store,
    experiment_id: str,
    name: str,
    tags: Mapping[str, str],
    parent: str | None = None,
    run_id: str | None = None,
) -> Iterator[TrackedRun]:
    """Start or resume a run, and end it with the correct status.

    The status is FINISHED if the block completes, KILLED on Ctrl-C, SIGTERM, `sys.exit` or if a search prunes the run,
    and FAILED on any other exception. The reason is stored as a tag, and the exception propagates to the caller.

    Args:
        store: The store that contains the run.
        experiment_id: The experiment in which to create a new run.
        name: The name of a new run.
        tags: Tags to set.
        parent: The parent run's id, used only for a new run.
        run_id: Id of a run to resume; `None` starts a new run. The status of a resumed run becomes RUNNING, and values
            that are already stored are not logged again.

    Yields:
        The run. Its buffered metrics are sent in the background until the block ends.

    Raises:
        WinnowError: If the run to resume does not exist, or if another process is executing it.
    """
    tags = {**build_provenance_tags(), RUN_OWNER: RunOwner.this_process().to_tag(), **tags}
    with ExitStack() as stack:
        if run_id is None:
            parent_tags = {PARENT_RUN_ID: parent} if parent else {}
            run = TrackedRun(store.start_run(experiment_id, name, tags | parent_tags))
            stack.enter_context(acquire_run(run.run_id))
        else:
            stack.enter_context(acquire_run(run_id))
            run = _resume_run(store, experiment_id, name, run_id, tags)
        sender = _BackgroundSender(run)
        try:
            with _exit_on_sigterm():
                sender.start()
                yield run
                sender.stop()
                run.flush()
        except BaseException as error:
            sender.stop()
            is_failure = isinstance(error, Exception) and not isinstance(error, RunPruned)
            run.end("FAILED" if is_failure else "KILLED", f"{type(error).__name__}: {error}")
            run.send_spooled()
            raise
        run.end("FINISHED")
        run.send_spooled()


def _resume_run(store: Store, experiment_id: str, name: str, run_id: str, tags: Mapping[str, str]) -> TrackedRun:
    """Set an ended run to RUNNING and return it; if the server does not respond, the change is spooled."""
    client = store.connect()
    try:
        if store.is_server:
            call_with_timeout(REQUEST_TIMEOUT_SECONDS, lambda: client.search_experiments(max_results=1))
        if (spool := Spool(store.spool_folder / run_id)).exists:
            spool.send(client)  # send the earlier attempt's operations before new operations
        stored_run = client.get_run(run_id)
        _check_resumable(stored_run)
        client.update_run(run_id, status="RUNNING")
        clear_failure(client, run_id)
    except Exception as error:
        if isinstance(error, WinnowError):
            raise
        if not (store.is_server and is_retryable_error(error)) or is_missing_run_error(error):
            raise _build_resume_error(run_id, error) from error
        writer = store.resume_run(run_id, experiment_id, name, tags, int(time.time() * 1000))
        writer.write({"do": "resume", "tags": dict(tags)})
        return TrackedRun(writer, has_unknown_state=True)
    info = stored_run.info
    writer = store.resume_run(run_id, info.experiment_id, info.run_name, tags, info.start_time)
    run = TrackedRun(writer, stored_run)
    attempts = int(stored_run.data.tags.get(ATTEMPTS, "1")) + 1
    run.set_tags({**tags, ATTEMPTS: str(attempts), HEARTBEAT: str(run.clock.milliseconds())})
    return run


def _build_resume_error(run_id: str, error: Exception) -> WinnowError:
    """Return the error for a run that does not exist or cannot be resumed."""
    if is_missing_run_error(error):
        return WinnowError(f"there is no run {run_id} to resume ({error}). Check the run id, or start a new run.")
    return WinnowError(f"cannot resume the run {run_id} ({error}). Fix the store, or start a new run.")


def _check_resumable(run: Run) -> None:
    """Raise `WinnowError` if a run was deleted or another process is executing it."""
    run_id = run.info.run_id
    if run.info.lifecycle_stage == "deleted":
        raise WinnowError(f"the run {run_id} was deleted. Restore it in the MLflow UI, or start a new run.")
    if run.info.status == "RUNNING" and RUN_OWNER in run.data.tags and not termination_reason(run):
        owner = RunOwner.from_tag(run.data.tags[RUN_OWNER])
        raise WinnowError(f"the run {run_id} is being executed by {owner}. Wait until it ends, or stop it.")


class _BackgroundSender(threading.Thread):
    """Sends a run's metrics and heartbeats in the background, so that training never waits for the store."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(name="winnow-tracking", daemon=True)
        self._run = run
        self._stopped = threading.Event()
        self._retry_seconds, self._next_retry = float(SEND_INTERVAL_SECONDS), 0.0

    def run(self) -> None:
        """Send metrics, system metrics and heartbeats at intervals until stopped."""
        machine_load, sample, next_heartbeat = MachineLoad(), 0, time.monotonic() + HEARTBEAT_INTERVAL_SECONDS
        while not self._stopped.wait(SEND_INTERVAL_SECONDS):
            with suppress(Exception):  # unsent values stay buffered; if the error persists, ending the run raises it
                self._run.log_metrics(machine_load.read(), sample)
                sample += 1
                self._run.flush()
                self._send_spooled()
                if time.monotonic() >= next_heartbeat:
                    self._run.log_heartbeat()
                    next_heartbeat = time.monotonic() + HEARTBEAT_INTERVAL_SECONDS

    def _send_spooled(self) -> None:
        """Try to send spooled operations, with exponential backoff while the store does not respond."""
        if time.monotonic() < self._next_retry:
            return
        if self._run.send_spooled():
            self._retry_seconds = SEND_INTERVAL_SECONDS
        else:
            self._retry_seconds = min(2 * self._retry_seconds, HEARTBEAT_INTERVAL_SECONDS)
            self._next_retry = time.monotonic() + self._retry_seconds

    def stop(self) -> None:
        """Stop the thread, and wait briefly for a request in progress."""
        self._stopped.set()
        if self.is_alive():
            self.join(REQUEST_TIMEOUT_SECONDS)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Raise `SystemExit` on SIGTERM, so that the run ends properly; the exit code is 143, as is conventional."""

    def raise_exit(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    try:
        previous_handler = signal.signal(signal.SIGTERM, raise_exit)
    except ValueError:  # only the main thread can set signal handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
