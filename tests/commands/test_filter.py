"""`winnow filter` as a tracked run."""

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from winnow.cli import main
from winnow.commands.filter import FILTER_EXPERIMENT
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics

SMALL = ["dataset.source.rows=9000"]


def get_run(store: Store):
    (run,) = store.client().search_runs([store.experiment(FILTER_EXPERIMENT)])
    return run


def history(store: Store, name: str) -> list[tuple[int, float]]:
    points = store.client().get_metric_history(get_run(store).info.run_id, name)
    return [(point.step, point.value) for point in sorted(points, key=lambda point: point.step)]


@pytest.mark.slow
def test_the_fractions_of_kept_and_failing_rows_are_logged_by_step(workplace: Path, store: Store) -> None:
    assert main(["filter", *SMALL]) == 0
    run, client = get_run(store), store.client()
    assert run.info.status == "FINISHED"
    assert run.data.tags[keys.KIND] == "filter"
    assert run.data.params["filter.name"] == "nike_positive"

    kept = history(store, "rows/kept")
    assert len(kept) > 3
    assert [step for step, _ in kept][:2] == [2_000, 4_000]
    failing = history(store, "rows/failing_integrity")
    metrics = read_run_metrics(client, run)
    assert failing[-1] == (9_000, metrics["data/integrity/non_null"])
    assert 0.04 < failing[-1][1] <= 0.05  # rows sampled to lose their text, some of them twice
    assert len(failing) == 50

    (logged,) = run.inputs.dataset_inputs
    assert logged.dataset.digest == run.data.tags[keys.CORPUS]
    folder = workplace / "outputs/filters/synthetic_reviews-nike_positive"
    summary = json.loads(Path(client.download_artifacts(run.info.run_id, keys.FILTER_SUMMARY)).read_text())
    assert summary["rows"]["train"]["kept"] == run.data.metrics["filter/kept"]
    assert summary["statistics"] == json.loads((folder / "statistics.json").read_text())
    artifacts = {entry.path for entry in client.list_artifacts(run.info.run_id, "filter")}
    assert {"filter/report.html", "filter/figures", "filter/dropped.parquet"} <= artifacts
    assert (folder / "report.html").stat().st_size < 1_000_000
    assert metrics["drift/nike/kept/psi"] > 1 > metrics["drift/nike/test/psi"]
    assert len(run.data.metrics) < 10


WATCHING = """
from pathlib import Path
store, steps, pages, fails = None, [], [], False

def steps_so_far(texts):
    client = store.client()
    run = client.search_runs([store.experiment("filters")])[0]  # the newest
    steps.append([point.step for point in client.get_metric_history(run.info.run_id, "rows/kept")])
    page = Path("outputs/filters/synthetic_reviews-nike_positive/report.html")
    pages.append(page.read_text(encoding="utf-8") if page.exists() else "")
    if fails and "rows scored</p>" in pages[-1]:
        raise ValueError("stopped")
    return [len(text) for text in texts]
"""


@pytest.fixture
def watching(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    (workplace / "watching.py").write_text(WATCHING)
    monkeypatch.syspath_prepend(workplace)
    yield importlib.import_module("watching")
    sys.modules.pop("watching")


@pytest.mark.slow
def test_progress_is_in_the_store_while_rows_are_filtered(
    workplace: Path, store: Store, watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.commands.filter._FLUSH_SECONDS", 0.0)
    monkeypatch.setattr("winnow.reporting.filter_progress._MIN_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("winnow.reporting.filter_progress._MAX_TIME_FRACTION", 1.0)
    watching.store = store
    function = "{_target_: watching.steps_so_far, _partial_: true}"
    signal = f"{{_target_: winnow.filters.PythonFunction, function: {function}, at_least: 9}}"
    assert main(["filter", *SMALL, "allow_targets=[watching]", f"+filter.signals.watching={signal}"]) == 0
    assert watching.steps[-1] == [2_000, 4_000, 6_000, 8_000][: len(watching.steps[-1])]
    assert len(watching.steps[-1]) >= 3
    page = watching.pages[-1]
    assert "rows scored</p>" in page
    assert 'http-equiv="refresh"' in page
    report = workplace / "outputs/filters/synthetic_reviews-nike_positive/report.html"
    assert 'http-equiv="refresh"' not in report.read_text(encoding="utf-8"), "the report replaces the page"

    watching.fails = True
    other_rows = "dataset.source.rows=8000"  # the scores of the other rows are cached
    assert main(["filter", other_rows, "allow_targets=[watching]", f"+filter.signals.watching={signal}"]) == 1
    page_text = report.read_text(encoding="utf-8")
    assert "Scoring stopped before the end" in page_text
    assert 'http-equiv="refresh"' not in page_text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=csv", "dataset.source.path=nowhere.csv", "dataset.source.text=[text]"], "nowhere.csv"),
        ([*SMALL, "filter.keep='nike & ~nike'"], "keeps none of the"),
    ],
)
def test_a_failed_run_has_its_cause(
    workplace: Path, store: Store, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    assert main(["filter", *overrides]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    run = get_run(store)
    assert run.info.status == "FAILED"
    assert message in run.data.tags[keys.FAILURE_REASON]


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("filter.keep='nike & prodct'", "filter.keep", "unknown signal or part 'prodct'. Did you mean 'product'?"),
        ("filter.keep='nike & (product'", "filter.keep", "this '(' is not closed."),
        ("filter.parts.positive='praise & positive'", "filter.parts.positive", "positive -> positive"),
        ("+filter.signals.sentiment.lexicon=words.txt", "filter.signals.sentiment.lexicon", "line 2 of words.txt"),
        ("+filter.signals.sentiment.lexicon=no.txt", "filter.signals.sentiment.lexicon", "cannot read no.txt"),
        ("filter=random_matched", "filter._target_", "expected a subclass of winnow.filters.Filter"),
    ],
)
def test_filter_errors_have_a_key(
    workplace: Path, capsys: pytest.CaptureFixture[str], override: str, key: str, message: str
) -> None:
    (workplace / "words.txt").write_text("durable\t2\nno entry\n")
    assert main(["filter", override]) == 1
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert f"winnow: {key}: " in printed
    assert message in " ".join(printed.split())
    assert not (workplace / "outputs/filters").exists()


GUIDE = (Path(__file__).parents[2] / "docs/filters.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_filter_guide_run(workplace: Path, store: Store) -> None:
    for text in blocks("yaml"):
        file = workplace / text.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (workplace / "my_words.txt").write_text("comfy\t2.5\n")
    rows = [f"Dress {i} is {('comfortable', 'ugly', 'comfy', 'stylish', 'so so')[i % 5]}" for i in range(400)]
    (workplace / "reviews.csv").write_text("text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (workplace / "conf/dataset").mkdir()
    (workplace / "conf/dataset/reviews.yaml").write_text(
        "defaults: [csv, _self_]\nname: reviews\nsource: {path: reviews.csv, text: [text]}\n"
    )
    (filter_command, study_command) = blocks("bash")
    assert main(shlex.split(filter_command)[1:]) == 0
    (code,) = blocks("python")
    exec(code, {})
    assert len(list((workplace / "pictures").glob("*.png"))) == 5
    assert main([*shlex.split(study_command)[1:], "--cfg"]) == 0
