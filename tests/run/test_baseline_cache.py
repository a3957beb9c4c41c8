"""The scores of a model before training: computed once for all cells that start from the same weights."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics

pytestmark = pytest.mark.slow


@pytest.fixture
def scoring_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record each call that scores rows or runs a probe."""
    from winnow import evaluation

    def recorded(name: str, function: object) -> object:
        def call(*arguments: object, **settings: object) -> object:
            calls.append(name)
            return function(*arguments, **settings)  # type: ignore[operator]

        return call

    calls: list[str] = []
    monkeypatch.setattr(evaluation, "score_rows", recorded("rows", evaluation.score_rows))
    monkeypatch.setattr(evaluation.Probe, "run", recorded("probe", evaluation.Probe.run))
    return calls


def test_a_second_cell_with_the_same_weights_uses_the_cached_scores(
    workplace: Path, small: list[str], store: Store, scoring_calls: list[str]
) -> None:
    counts = []
    for arguments in (["filter=full"], ["filter=random_matched"], ["filter=full", "seed=2"]):
        assert main(["train", *small, *arguments]) == 0
        counts.append((scoring_calls.count("rows"), len(scoring_calls)))
        scoring_calls.clear()
    (first_rows, first), (second_rows, second), (other_rows, _) = counts
    assert (first_rows, second_rows, other_rows) == (
        4,
        2,
        4,
    )  # two splits, before and after training; seed 2 has other weights
    assert second == first - 4  # and two probes
    runs = store.client().search_runs([store.experiment("scratchpad")])
    by_arm = {(run.data.tags[keys.ARM], run.data.tags[keys.SEED]): run for run in runs}
    first_run, second_run = by_arm["full", "1"], by_arm["random_matched", "1"]
    first_metrics, second_metrics = (read_run_metrics(store.client(), run) for run in (first_run, second_run))
    before = {name: value for name, value in first_metrics.items() if name.startswith("before/test/all")}
    assert before
    assert before.items() <= second_metrics.items()
    tables = []
    for run in (first_run, second_run):
        file = store.client().download_artifacts(run.info.run_id, keys.PREDICTED_WORDS, str(workplace))
        tables.append(pq.read_table(file, filters=[("stage", "=", "before")]).to_pylist())
    assert tables[0] == tables[1]
