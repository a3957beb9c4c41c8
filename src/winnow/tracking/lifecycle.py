"""The life of a run: begun, taken up again and ended by the harness itself, with the right status however it ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from winnow.errors import WinnowError
from winnow.tracking.environment import MachineLoad, build_provenance_tags
from winnow.tracking.keys import ATTEMPTS, HEARTBEAT, OWNER
from winnow.tracking.offline.operations import clear_failure, is_missing, is_retryable
from winnow.tracking.offline.spool import PARENT_RUN_ID, Spool
from winnow.tracking.offline.timeouts import REQUEST_TIMEOUT_SECONDS, call_with_timeout
from winnow.tracking.process.ownership import HEARTBEAT_SECONDS, RunOwner, acquire_run
from winnow.tracking.process.stale_runs import termination_reason
from winnow.tracking.store import Store
from winnow.tracking.tracked_run import TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Run

SEND_SECONDS = 5
"""How old a buffered metric gets before it is sent, so that one can watch a run."""


@contextmanager
def track(
    store: Store,
    experiment_id: str,
    name: str,
    tags: Mapping[str, str],
    parent: str | None = None,
    run_id: str | None = None,
) -> Iterator[TrackedRun]:
    """Begin a run, or take up a broken one again, and end it with the status it deserves.

    The run ends FINISHED when the block does, KILLED on Ctrl-C, SIGTERM or `sys.exit`, and FAILED on any other
    exception, with the cause as a tag. The exception goes on to the caller.

    Args:
        store: Where runs are kept.
        experiment_id: The experiment of a new run.
        name: The name of a new run.
        tags: Tags to set.
        parent: The run that a new one is shown under.
        run_id: A run to take up: it is RUNNING again, and what it holds already is not stored twice.

    Raises:
        WinnowError: The run to take up is gone, or another process works on it.
    """
    tags = {**build_provenance_tags(), OWNER: RunOwner.this_process().to_tag(), **tags}
    with ExitStack() as stack:
        if run_id is None:
            links = {PARENT_RUN_ID: parent} if parent else {}
            run = TrackedRun(store.start_run(experiment_id, name, tags | links))
            stack.enter_context(acquire_run(run.run_id))
        else:
            stack.enter_context(acquire_run(run_id))
            run = _resume_run(store, experiment_id, name, run_id, tags)
        heartbeat = _Heartbeat(run)
        try:
            with _terminable():
                heartbeat.start()
                yield run
                heartbeat.stop()
                run.flush()
        except BaseException as error:
            heartbeat.stop()
            run.end("FAILED" if isinstance(error, Exception) else "KILLED", f"{type(error).__name__}: {error}")
            run.send_spooled()
            raise
        run.end("FINISHED")
        run.send_spooled()


def _resume_run(store: Store, experiment_id: str, name: str, run_id: str, tags: Mapping[str, str]) -> TrackedRun:
    """Set a run that an earlier attempt ended to RUNNING; if a server does not answer, as soon as it does."""
    client = store.connect()
    try:
        if store.is_server:
            call_with_timeout(REQUEST_TIMEOUT_SECONDS, lambda: client.search_experiments(max_results=1))
        if (spool := Spool(store.spool_folder / run_id)).exists:
            spool.send(client)  # what the earlier attempt could not send comes before what follows
        earlier = client.get_run(run_id)
        _check_free(earlier)
        client.update_run(run_id, status="RUNNING")
        clear_failure(client, run_id)
    except Exception as error:
        if isinstance(error, WinnowError):
            raise
        if not (store.is_server and is_retryable(error)) or is_missing(error):
            told = f"there is no run {run_id} to resume" if is_missing(error) else f"the run {run_id} cannot be resumed"
            raise WinnowError(f"{told}: {error}") from error
        writer = store.resume_run(run_id, experiment_id, name, tags, int(time.time() * 1000))
        writer.write({"do": "resume", "tags": dict(tags)})
        return TrackedRun(writer, unseen=True)
    info = earlier.info
    writer = store.resume_run(run_id, info.experiment_id, info.run_name, tags, info.start_time)
    run = TrackedRun(writer, earlier)
    attempts = int(earlier.data.tags.get(ATTEMPTS, "1")) + 1
    run.set_tags({**tags, ATTEMPTS: str(attempts), HEARTBEAT: str(run.clock.milliseconds())})
    return run


def _check_free(run: Run) -> None:
    """Raise if a run was deleted, or another process works on it."""
    run_id = run.info.run_id
    if run.info.lifecycle_stage == "deleted":
        raise WinnowError(f"the run {run_id} was deleted. Restore it in MLflow's pages, or begin a new one.")
    if run.info.status == "RUNNING" and OWNER in run.data.tags and not termination_reason(run):
        owner = RunOwner.from_tag(run.data.tags[OWNER])
        raise WinnowError(f"the run {run_id} is being worked on by {owner}. Wait until it ends, or stop it.")


class _Heartbeat(threading.Thread):
    """Sends a run's metrics and signs of life in the background, so that training never waits for the store."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(name="winnow-tracking", daemon=True)
        self._run = run
        self._ended = threading.Event()
        self._pause, self._next_try = float(SEND_SECONDS), 0.0

    def run(self) -> None:
        """Send now and then until stopped, how busy the machine is too."""
        load, looks, due = MachineLoad(), 0, time.monotonic() + HEARTBEAT_SECONDS
        while not self._ended.wait(SEND_SECONDS):
            with suppress(Exception):  # what could not even be kept stays buffered, and the run's end reports it
                self._run.log_metrics(load.read(), looks)
                looks += 1
                self._run.flush()
                self._send_spooled()
                if time.monotonic() >= due:
                    self._run.log_heartbeat()
                    due = time.monotonic() + HEARTBEAT_SECONDS

    def _send_spooled(self) -> None:
        """Send what was kept; while the store does not answer, try less and less often."""
        if time.monotonic() < self._next_try:
            return
        if self._run.send_spooled():
            self._pause = SEND_SECONDS
        else:
            self._pause = min(2 * self._pause, HEARTBEAT_SECONDS)
            self._next_try = time.monotonic() + self._pause

    def stop(self) -> None:
        """Stop, and wait a moment for what is being sent."""
        self._ended.set()
        if self.is_alive():
            self.join(REQUEST_TIMEOUT_SECONDS)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block by an exception, so that the run is closed; the exit code is 143 as shells expect."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever owns that one handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
