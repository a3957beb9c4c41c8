"""The last sentence of a sweep, and the arms of a sweep over thresholds."""

from pathlib import Path

import pytest

from fixtures.tracked_runs import Runs
from winnow.cli import main
from winnow.comparison import collect_study
from winnow.config import TrainConfig, compose_cells
from winnow.studies.sweep_ending import explain_missing_verdict
from winnow.tracking import Store, keys

CHEERFUL = """
_target_: winnow.filters.Filter
name: cheerful
signals:
  mood: {_target_: winnow.filters.VaderSentiment}
keep: mood
"""


@pytest.mark.slow
def test_a_sweep_over_thresholds_trains_every_arm_and_says_why_there_is_no_verdict(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str], runs: Runs
) -> None:
    folder = workplace / "conf" / "filter"
    folder.mkdir(parents=True)
    (folder / "cheerful.yaml").write_text(CHEERFUL, encoding="utf-8")
    sweep = ["train", "-m", "filter=cheerful", "filter.signals.mood.at_least=0.0,0.4", "seed=1,2", "study.name=mine"]
    assert main([*sweep, *small]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "No verdict: the sweep has no arm full to compare with." in printed
    assert "Report: outputs/mine/comparison/report.html" in printed
    arms = [(run.data.tags[keys.ARM], run.data.tags[keys.SEED]) for run in runs()]
    assert arms == [(f"cheerful-mood.at_least-{dose}", seed) for dose in ("0", "0.4") for seed in ("1", "2")]
    study = collect_study(store.tracking_uri, "mine")
    assert study.declaration.arms == ("cheerful[mood.at_least=0]", "cheerful[mood.at_least=0.4]")
    assert len(study.cells) == 4
    assert not [note for note in study.notes if "excluded" in note]


@pytest.mark.parametrize(
    ("overrides", "arms", "seeds", "reason"),
    [
        ([], ["full", "a"], [1, 2], None),
        (["study.compare=false"], ["full", "a"], [1, 2], "study.compare is false"),
        ([], ["a"], [1, 2], "only the arm A"),
        ([], ["a", "b"], [1, 2], "no arm full"),
        (["study.baseline=b"], ["a", "b"], [1, 2], None),
        ([], ["full", "a"], [3], "only the seed 3"),
    ],
)
def test_the_reason_names_what_is_missing(
    overrides: list[str], arms: list[str], seeds: list[int], reason: str | None
) -> None:
    ((cell,), _) = compose_cells("train", TrainConfig, overrides)
    declaration = {"arms": arms, "seeds": seeds, "arm_labels": {"full": "full", "a": "A", "b": "B"}}
    sentence = explain_missing_verdict(cell.config, declaration)
    assert (reason is None) == (sentence is None)
    assert (reason or "") in (sentence or "")
