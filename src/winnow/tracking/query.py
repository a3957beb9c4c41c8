"""What the store knows of the cells of a study: which have finished, and which broke off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from winnow.tracking.keys import CAUSE, CELL, COMMIT, KIND
from winnow.tracking.store import Store


@dataclass(frozen=True)
class Attempt:
    """The run of a cell that counts: a finished one before any other, and else the newest.

    Attributes:
        run_id: MLflow's id of the run.
        status: MLflow's status of the run.
        tags: Its tags.
        params: Its parameters.
        metrics: Its last metrics.
    """

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]

    @property
    def has_finished(self) -> bool:
        """Whether the cell is done."""
        return self.status == "FINISHED"

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the cell; runs whose process died must have been closed before."""
        return self.status == "RUNNING"

    @property
    def had_checkpoint(self) -> bool:
        """Whether the run came as far as its first checkpoint, which goes with a look at the validation loss."""
        return "validation/loss" in self.metrics

    @property
    def commit(self) -> str | None:
        """The commit that the run was made on."""
        return self.tags.get(COMMIT)

    @property
    def cause(self) -> str:
        """Why the run broke off."""
        return self.tags.get(CAUSE, "")


def attempts(store: Store, experiment_id: str) -> dict[str, Attempt]:
    """Return for each cell id of an experiment the run that counts."""
    client = store.client()
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`{KIND}` = 'cell'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    ranks = {"FINISHED": 2, "RUNNING": 1}
    found.sort(key=lambda run: (ranks.get(run.info.status, 0), int(run.info.start_time)))
    return {
        run.data.tags[CELL]: Attempt(run.info.run_id, run.info.status, run.data.tags, run.data.params, run.data.metrics)
        for run in found
        if CELL in run.data.tags
    }
