"""Two processes that search at the same time, with the trials in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fixtures.postgres import needs_postgres
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import CELL_RUN_FILTER, search_runs

SPACE = "filter: [nike_positive]\nfilter.signals.sentiment.at_least: {low: 0.0, high: 0.6}\n"
TRIALS = 4


@needs_postgres
@pytest.mark.slow
def test_two_processes_share_the_trials_in_postgresql(
    workplace: Path, store: Store, small: list[str], postgres: str
) -> None:
    (workplace / "conf/space").mkdir(parents=True)
    (workplace / "conf/space/strength.yaml").write_text(SPACE, encoding="utf-8")
    search = ["search", "space=strength", f"trials={TRIALS}", "trial_seeds=[11]", "max_trial_seeds=1", "confirm=false"]
    command = [sys.executable, "-m", "winnow", *search, *small, f"storage={postgres}", "study.name=x"]
    command += ["probe=[nike_wide]", "training.max_steps=2", "launcher=in_process"]
    processes = [
        subprocess.Popen(command, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert not (workplace / "outputs/x-search/search.db").exists()
    result = json.loads((workplace / "outputs/x-search/search.json").read_text())
    assert [(trial["number"], trial["state"]) for trial in result["trials"]] == [
        (number, "complete") for number in range(TRIALS)
    ]
    assert len({tuple(trial["settings"]) for trial in result["trials"]}) == TRIALS
    runs = search_runs(store.client(), [store.experiment("x-search")], CELL_RUN_FILTER)
    assert Counter(run.data.tags[keys.TRIAL] for run in runs) == {str(number): 1 for number in range(TRIALS)}
    trained = [{line.split()[1] for line in output.splitlines() if line.startswith("Trial ")} for output in outputs]
    assert all(trained), "both processes ran trials"
