from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from winnow.comparison import Comparison, analyze, collect_study
from winnow.errors import WinnowError
from winnow.reporting import compare
from winnow.tracking import keys
from winnow.untrusted_text import escape_markdown

pytestmark = pytest.mark.slow

FIGURES = ("seeds", "contrasts", "curves", "fills", "funnel")


@dataclass
class Report:
    comparison: Comparison
    folder: Path

    @property
    def json(self) -> dict[str, Any]:
        return json.loads((self.folder / "comparison.json").read_text(), parse_constant=pytest.fail)

    @property
    def html(self) -> str:
        return (self.folder / "report.html").read_text()


@pytest.fixture(scope="module")
def report(planted_store: Any, planted: str, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("report")
    return Report(compare(planted_store.uri, planted, folder), folder)


def test_report_recovers_the_planted_effect(report: Report) -> None:
    report_json = report.json
    assert report_json["primary_metric"] == "probe/nike_wide/log_odds"
    assert report_json["verdict"]["word"] == "better"
    first, second = report_json["contrasts"][:2]
    assert (first["a"], first["b"]) == ("nike_positive", "full")
    assert (second["a"], second["b"]) == ("nike_positive", "random_matched")
    assert first["ci_low"] < 0.9 < first["ci_high"]
    assert first["items"] == 40
    assert first["p_holm"] == pytest.approx(max(2 * min(first["p_value"], second["p_value"]), first["p_value"]))


def test_json_has_all_documented_keys(report: Report) -> None:
    report_json = report.json
    for arm in ("full", "nike_positive", "random_matched"):
        assert {"n", "mean", "std", "seeds"} <= set(report_json["arms"][arm])
        assert report_json["arms"][arm]["seeds"] == [1, 2, 3, 4, 5]
    keys = {"a", "b", "metric", "difference", "ci_low", "ci_high", "p_value", "p_holm"}
    assert all(keys <= set(entry) for entry in report_json["contrasts"])
    arms, first = report_json["arms"], report_json["contrasts"][0]
    assert first["difference"] == pytest.approx(arms["nike_positive"]["mean"] - arms["full"]["mean"])
    assert report_json["arms"]["full"]["train_rows"] == 8000
    assert report_json["overlap"]["shared"] == ["comfortable", "durable"]
    descriptive = [entry for entry in report_json["contrasts"] if entry["family"] == "descriptive"]
    assert [entry["p_holm"] for entry in descriptive] == [None]


def test_change_in_percent_is_the_same_in_every_output(report: Report) -> None:
    change, metrics = report.json["probability_change"], report.json["metrics"]
    assert (change["probe"], change["filter"], change["baseline"], change["prompts"]) == (
        "nike_wide", "nike_positive", "full", 40,
    )  # fmt: skip
    for key, arm in (("wanted_before", "full"), ("wanted_after", "nike_positive")):
        assert change[key] == pytest.approx(metrics["probe/nike_wide/wanted_mass"][arm]["mean"])
    before, after = f"{change['wanted_before']:.1%}", f"{change['wanted_after']:.1%}"
    assert f"that of wanted words rose from {before} to {after}" in change["sentence"]
    assert report.comparison.paragraphs[1] == change["sentence"]
    assert change["sentence"] in report.html
    assert escape_markdown(change["sentence"]) in (report.folder / "report.md").read_text()


def test_losses_are_compared_over_rows(report: Report) -> None:
    by_metric = {entry["metric"]: entry for entry in report.json["contrasts"] if entry["family"] == "secondary"}
    assert set(by_metric) == {"test/all/perplexity", "test/nike_positive/removed/loss", "probe/nike_wide/positive_at_5"}
    assert by_metric["test/all/perplexity"]["items"] == 150
    assert by_metric["test/nike_positive/removed/loss"]["outcome"] == "worse"
    logged = report.json["metrics"]["test/all/perplexity"]
    expected = logged["nike_positive"]["mean"] - logged["full"]["mean"]
    assert by_metric["test/all/perplexity"]["difference"] == pytest.approx(expected)


def test_slices_with_higher_loss_are_flagged(report: Report) -> None:
    worse = {entry.name: entry.is_worse for entry in report.comparison.slices}
    assert worse == {"all": True, "nike_positive/kept": False, "nike_positive/removed": True}


class Page(HTMLParser):
    """Collect the resources that a page fetches, its anchors and its open tags."""

    VOID = ("meta", "link", "br", "path", "use", "rect", "hr", "img", "input", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.figures: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "figure":
            self.figures.add((attributes["id"] or "").removeprefix("figure-"))
        if "id" in attributes:
            self.ids.append(attributes["id"] or "")
        for key in ("href", "src", "xlink:href"):
            value = attributes.get(key) or ""
            if value.startswith("#"):
                self.links.add(value[1:])
            elif tag == "a" and value:
                assert value.startswith("http://127.0.0.1:5000/#/experiments/"), "links go to MLflow's own pages"
            elif value and not value.startswith("data:"):
                self.fetched.append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_is_self_contained_and_well_formed(report: Report) -> None:
    page = Page()
    page.feed(report.html)
    assert not page.open
    assert not page.fetched
    assert page.figures == set(FIGURES)
    assert page.links <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    text = report.html.replace("http://127.0.0.1:5000", "")
    text = re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", text)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert len(report.html) < 3_000_000


def test_page_contains_verdict_prompts_and_escaped_rows(report: Report) -> None:
    for sentence in (report.comparison.verdict.sentence, *report.comparison.verdict.sentences):
        assert sentence in report.html
    for text in ("✓</i> Better", "Specificity", "Cost"):
        assert text in report.html
    assert "Nike shoes are very [MASK]" in report.html
    assert "&lt;b&gt;overpriced&lt;/b&gt;" in report.html
    assert "<b>overpriced" not in report.html
    for arm in report.comparison.arms.values():
        assert all(run in report.html for run in arm.run_ids)


def test_markdown_contains_no_html_or_links_from_data(report: Report) -> None:
    text = (report.folder / "report.md").read_text()
    assert "&lt;b>overpriced&lt;/b>" in text
    assert not re.search(r"<[A-Za-z/!?]", re.sub(r"`[^`\n]*`", "", text))
    assert re.findall(r"(?<!\\)\[[^]]*\]\((?!figures/)", text) == []
    assert "Nike shoes are very \\[MASK]" in text


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", 'http://a"onclick="x'])
def test_links_lead_to_http_addresses_only(planted_store: Any, planted: str, tmp_path: Path, address: str) -> None:
    with pytest.raises(WinnowError, match="http://") as caught:
        compare(planted_store.uri, planted, tmp_path / "made", ui_url=address)
    assert caught.value.key == "ui_url"
    assert not (tmp_path / "made").exists()


def test_markdown_and_figures_are_written(report: Report) -> None:
    text = (report.folder / "report.md").read_text()
    for name in FIGURES:
        assert f"](figures/{name}.svg)" in text
        assert (report.folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (report.folder / "figures" / f"{name}.svg").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    assert len(tables) >= 10
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table


def test_tables_are_written_as_csv_and_latex(report: Report) -> None:
    import pandas as pd

    contrasts = pd.read_csv(report.folder / "tables/contrasts.csv")
    assert contrasts["difference"].tolist() == [entry["difference"] for entry in report.json["contrasts"]]
    seeds = pd.read_csv(report.folder / "tables/seeds.csv")
    assert len(seeds) == 15
    names = {"arms", "seeds", "contrasts", "slices", "metrics"}
    assert {file.stem for file in (report.folder / "tables").iterdir()} == names
    for name in names:
        text = (report.folder / f"tables/{name}.tex").read_text()
        body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
        columns = re.search(r"begin\{tabular\}\{([lr]+)\}", text)
        assert columns is not None
        for line in body.splitlines()[1:-1]:
            assert line.count(" & ") == len(columns[1]) - 1, line
            assert not re.search(r"(?<!\\)[_%#]", line), line


def test_comparison_is_logged_as_a_run_that_links_the_compared_runs(report: Report, planted_store: Any) -> None:
    experiment = planted_store.client.get_experiment_by_name("planted").experiment_id
    runs = planted_store.client.search_runs([experiment])
    (comparison_run,) = [run for run in runs if run.data.tags.get(keys.KIND) == "comparison"]
    (parent,) = [run for run in runs if run.data.tags.get(keys.KIND) == "study"]
    assert comparison_run.info.status == "FINISHED"
    assert comparison_run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert comparison_run.data.tags["winnow.verdict"] == "better"
    first = report.comparison.findings[0]
    name = "primary/probe/nike_wide/log_odds/nike_positive - full/difference"
    assert comparison_run.data.metrics[name] == pytest.approx(first.result.difference)
    for arm in report.comparison.arms.values():
        for run_id in arm.run_ids:
            assert f"#/experiments/{experiment}/runs/{run_id})" in comparison_run.data.tags["mlflow.note.content"]
    notes = parent.data.tags["mlflow.note.content"]
    assert notes.startswith(report.comparison.headline)
    sentence = report.comparison.verdict.sentence
    assert comparison_run.data.tags["mlflow.note.content"].startswith(f"**{sentence}**")
    assert report.json["verdict"]["sentence"] == sentence
    assert sentence in (report.folder / "report.md").read_text()
    assert comparison_run.info.run_id in notes
    description = planted_store.client.get_experiment(experiment).tags["mlflow.note.content"]
    assert description.startswith(f"**{report.comparison.headline}**")
    assert f"/runs/{comparison_run.info.run_id}/artifacts/comparison/report.html" in description
    files = {file.path for file in planted_store.client.list_artifacts(comparison_run.info.run_id, "comparison")}
    assert {f"comparison/{name}" for name in ("comparison.json", "report.html", "report.md", "tables")} <= files


def test_no_effect_gives_no_clear_difference(planted_store: Any) -> None:
    null = dict.fromkeys(("full", "nike_positive", "random_matched"), 0.0)
    comparison = analyze(collect_study(planted_store.uri, planted_store.build("null", null)))
    assert comparison.verdict.word == "no clear difference"
    assert "does not show that the two are equivalent" in comparison.verdict.sentences[0]
    assert not comparison.verdict.green


def test_no_metric_is_compared_between_tokenizers(planted_store: Any, tmp_path: Path) -> None:
    comparison = compare(
        planted_store.uri,
        planted_store.build("tokenizers", seeds=(1, 2), tags={"full": {keys.TOKENIZER: "other"}}),
        tmp_path,
    )
    refused = {entry["metric"]: entry["reason"] for entry in comparison.not_comparable}
    declared = {"probe/nike_wide/log_odds", "probe/nike_wide/positive_at_5"}
    assert set(refused) == {*declared, "test/all/perplexity", "test/nike_positive/removed/loss"}
    assert "tokenizer" in refused["test/all/perplexity"]
    (notes,) = [note for note in comparison.notes if note.startswith("More than one tokenizer")]
    assert "full: other; nike_positive: 70ken1" in notes
    assert notes.replace("'", "&#39;") in (tmp_path / "report.html").read_text()
    assert {(f.result.a, f.result.b) for f in comparison.findings} == {("nike_positive", "random_matched")}
    assert all(entry.change is None for entry in comparison.slices)


def test_an_arm_with_early_stopping_is_not_comparable(planted_store: Any) -> None:
    reason = {keys.NOT_COMPARABLE: "the validation loss decides when training ends"}
    comparison = analyze(
        collect_study(planted_store.uri, planted_store.build("used", seeds=(1, 2), tags={"full": reason}))
    )
    assert comparison.verdict.word == "not comparable"
    assert "full was not trained for a comparison" in comparison.verdict.reason


def test_different_budgets_are_not_comparable(planted_store: Any) -> None:
    comparison = analyze(
        collect_study(
            planted_store.uri, planted_store.build("budgets", seeds=(1, 2), tags={"full": {keys.MAX_STEPS: "900"}})
        )
    )
    assert comparison.verdict.word == "not comparable"
    assert "budget in steps" in comparison.verdict.reason
    random = next(f for f in comparison.findings if f.family == "primary")
    assert random.p_holm == pytest.approx(min(1.0, 2 * random.result.p_value))


def test_missing_artifacts_fall_back_to_summary_metrics(planted_store: Any, tmp_path: Path) -> None:
    name = planted_store.build(
        "lost",
        missing_artifacts=(keys.PROMPT_RESULTS, keys.PREDICTED_WORDS, keys.ROW_SCORES),
        secondary=("test/none/loss",),
    )
    comparison = compare(planted_store.uri, name, tmp_path)
    assert comparison.verdict.word == "better"
    assert {finding.result.items for finding in comparison.findings} == {1}
    notes = " ".join(comparison.notes)
    assert "evaluation/prompts.parquet" in notes
    assert "generalizes to new seeds only" in notes
    assert not (tmp_path / "figures" / "fills.svg").exists()
    assert "<b>Not comparable</b>: loss on test/none" in (tmp_path / "report.html").read_text()


def test_deleted_and_damaged_artifacts_are_reported_and_the_others_compared(planted_store: Any) -> None:
    name = planted_store.build("deleted", seeds=(1, 2), secondary=("test/all/loss",))
    study = collect_study(planted_store.uri, name)
    gone, damaged = (study.get_cells("full")[i].run_id for i in (0, 1))
    folder = planted_store.folder / "artifacts" / name
    shutil.rmtree(folder / gone)
    (folder / damaged / "artifacts" / keys.PROMPT_RESULTS).write_bytes(b"PAR1 and then nothing")
    comparison = analyze(collect_study(planted_store.uri, name))
    notes = " ".join(comparison.notes)
    assert "scores per prompt (evaluation/prompts.parquet) could not be read for full seed 1, full seed 2" in notes
    assert "losses per row (evaluation/rows.parquet) could not be read for full seed 1" in notes
    assert {finding.metric for finding in comparison.findings} == {"probe/nike_wide/log_odds", "test/all/loss"}
    assert comparison.arms["full"].n == 2
    assert "generalizes to new seeds only" in notes


def test_a_metric_that_was_not_logged_is_not_comparable(planted_store: Any) -> None:
    comparison = analyze(
        collect_study(
            planted_store.uri, planted_store.build("unlogged", seeds=(1, 2), secondary=("probe/other/log_odds",))
        )
    )
    assert comparison.not_comparable[0]["reason"].startswith("nike_positive has no probe/other/log_odds for seed 1, 2")


def test_an_unwritable_folder_raises_an_error(planted_store: Any, planted: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(WinnowError, match="cannot write the report") as caught:
        compare(planted_store.uri, planted, tmp_path / "file" / "comparison")
    assert caught.value.key == "output_dir"


def test_comparison_and_reporting_import_without_torch() -> None:
    code = (
        "import sys, winnow.comparison as c, winnow.reporting.comparison_report;"
        "c.contrast, c.collect_study, c.analyze;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
