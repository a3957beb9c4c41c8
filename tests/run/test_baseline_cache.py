"""The scores of a base model: computed once, the same for every cell that begins with it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.tracking import Store, keys

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each time that a model scores rows or answers a probe."""
    from winnow import evaluation

    def noting(name: str, what: object) -> object:
        def noted(*arguments: object, **settings: object) -> object:
            calls.append(name)
            return what(*arguments, **settings)  # type: ignore[operator]

        return noted

    calls: list[str] = []
    monkeypatch.setattr(evaluation, "score_rows", noting("rows", evaluation.score_rows))
    monkeypatch.setattr(evaluation.Probe, "run", noting("probe", evaluation.Probe.run))
    return calls


def test_a_second_cell_with_the_same_model_asks_it_nothing_before_its_first_step(
    workplace: Path, small: list[str], store: Store, asked: list[str]
) -> None:
    counts = []
    for arguments in (["filter=full"], ["filter=random_matched"], ["filter=full", "seed=2"]):
        assert main(["train", *small, *arguments]) == 0
        counts.append((asked.count("rows"), len(asked)))
        asked.clear()
    (first_rows, first), (second_rows, second), (other_rows, _) = counts
    assert (first_rows, second_rows, other_rows) == (
        4,
        2,
        4,
    )  # two splits, before and after; seed 2 draws other weights
    assert second == first - 4  # and two probes
    runs = store.client().search_runs([store.experiment("scratchpad")])
    by_arm = {(run.data.tags[keys.ARM], run.data.tags[keys.SEED]): run for run in runs}
    one, other = by_arm["full", "1"], by_arm["random_matched", "1"]
    before = {name: value for name, value in one.data.metrics.items() if name.startswith("before/test/all")}
    assert before
    assert before.items() <= other.data.metrics.items()
    tables = []
    for run in (one, other):
        file = store.client().download_artifacts(run.info.run_id, keys.FILLS, str(workplace))
        tables.append(pq.read_table(file, filters=[("stage", "=", "before")]).to_pylist())
    assert tables[0] == tables[1]
