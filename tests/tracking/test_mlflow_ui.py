"""The MLflow UI of a small study, opened in a browser."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from winnow.cli import main
from winnow.tracking import Store, keys
from winnow.tracking.mlflow_ui import ARMS_VIEW_KEY, CHART_SECTION, FACTORS_VIEW_KEY, RUNS_VIEW_KEY, experiment_url

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WAIT = 60_000


@pytest.fixture
def pages(workplace: Path, store: Store, small: list[str], find_port: Callable[[], int]) -> Iterator[str]:
    """The URL of `winnow ui` for a study with two arms."""
    assert main(["train", "-m", "filter=full,nike_positive", "study.name=mine", *small]) == 0
    port = find_port()
    process = subprocess.Popen([sys.executable, "-m", "winnow.cli", "ui", f"port={port}"], stdout=subprocess.PIPE)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5)
            break
        except OSError:
            time.sleep(0.3)
    yield address
    process.terminate()
    process.wait(60)
    assert process.stdout is not None
    output = process.stdout.read().decode()
    for view in (ARMS_VIEW_KEY, FACTORS_VIEW_KEY):
        assert f"viewStateShareKey={view}" in output, "`winnow ui` prints the URL of each view"


def open_page(page: "Page", address: str, name: str, *texts: str) -> None:
    """Open a page, wait for texts, and save a screenshot if `WINNOW_PICTURES` is set to a folder."""
    page.goto(address)
    try:
        for text in texts:
            page.get_by_text(text).first.wait_for(timeout=WAIT)
    finally:
        if folder := os.environ.get("WINNOW_PICTURES"):
            page.wait_for_timeout(1500)
            page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_mlflow_ui_shows_a_study_with_its_cells_scores_and_a_comparison(
    pages: str, store: Store, browser: "Browser"
) -> None:
    client, experiment = store.client(), store.experiment("mine")
    cells = {run.info.run_name: run for run in client.search_runs([experiment], f"tags.`{keys.KIND}` = 'cell'")}
    full_run, filtered_run = cells["full, seed 1"], cells["nike_positive, seed 1"]
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    try:
        open_page(page, experiment_url(pages, experiment), "arms", "Group by: winnow.arm", *cells, "data/train_rows")
        assert page.get_by_text("Group: ").count() == 2
        assert page.get_by_text("learned only word frequencies").or_(page.get_by_text("mine: ")).count(), "the verdict"
        cells_view = experiment_url(pages, experiment, RUNS_VIEW_KEY)
        open_page(page, cells_view, "cells", *cells, "data/train_rows")
        assert page.get_by_text("Group: ").count() == 0
        chart_view = experiment_url(pages, experiment, FACTORS_VIEW_KEY)
        open_page(page, chart_view, "factors", CHART_SECTION, "Parallel Coordinates", "Showing all runs")
        axes = page.locator(".parcoords g.dimension")
        axes.first.wait_for(timeout=WAIT)
        labels = " ".join(axes.all_text_contents())
        for text in ("arm", "full", "nike_positive", "train_rows"):
            assert text in labels
        run_page = f"{pages}/#/experiments/{experiment}/runs/{filtered_run.info.run_id}"
        loss = f"{filtered_run.data.metrics['final/test/all/loss']:.3f}"
        open_page(page, run_page, "run", "nike_positive, seed 1", "mine (study)", "rows.", loss)
        open_page(page, f"{run_page}/artifacts/config/resolved.yaml", "artifact", "nike_positive", "max_steps")
        run_ids = json.dumps([full_run.info.run_id, filtered_run.info.run_id])
        open_page(
            page,
            f"{pages}/#/compare-runs?runs={quote(run_ids)}&experiments={quote(json.dumps([experiment]))}",
            "compare",
            "Comparing 2 Runs from 1 Experiment",
            "full, seed 1",
            "nike_positive, seed 1",
            "filter.name",
        )
        assert full_run.data.params["filter.name"] == "full"
        first = next(name for name in full_run.data.metrics if not name.startswith("system/"))
        assert first == "data/train_rows", "the page shows the metric that was logged first"
        open_page(page, f"{pages}/#/experiments/{experiment}/runs", "study", "mine (study)")
        assert page.get_by_text("full, seed 1").count() == 0
        page.get_by_role("row").filter(has_text="mine (study)").get_by_role("button").first.click()
        for name in cells:
            page.get_by_text(name).first.wait_for(timeout=WAIT)
    finally:
        page.close()
