"""What the tests of studies share: what a store holds of one."""

from collections.abc import Callable
from typing import Any

import pytest

from winnow.tracking import Store, keys


@pytest.fixture
def runs(store: Store) -> Callable[..., list[Any]]:
    """The runs of a kind in a study, in the order in which they began."""

    def runs(kind: str = "cell", study: str = "mine") -> list[Any]:
        found = store.client().search_runs([store.experiment(study)], f"tags.`{keys.KIND}` = '{kind}'")
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_name))

    return runs


@pytest.fixture
def histories(store: Store) -> Callable[[Any], dict[str, list[tuple[int, float]]]]:
    """All values of all metrics of a run by step, but for those that tell of time or load: no two runs share them."""

    def histories(run: Any) -> dict[str, list[tuple[int, float]]]:
        return {
            name: sorted(
                (point.step, point.value) for point in store.client().get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
            if not any(part in name for part in ("second", "peak_share", "system/"))
        }

    return histories
