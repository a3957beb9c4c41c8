"""A study is compared again only if something changed."""

from pathlib import Path
from typing import Any

import pytest

from winnow.reporting import compare_if_changed
from winnow.tracking import keys
from winnow.tracking.offline.run_operations import RUN_DESCRIPTION


@pytest.mark.slow
def test_an_unchanged_study_is_not_compared_again(planted_store: Any, tmp_path: Path) -> None:
    name = planted_store.build("updated", seeds=(1, 2))
    folder = tmp_path / "updated" / "comparison"
    client = planted_store.client
    experiment = client.get_experiment_by_name(name).experiment_id

    def comparison_runs() -> list[str]:
        runs = client.search_runs([experiment], f"tags.`{keys.KIND}` = 'comparison'")
        return [run.info.run_id for run in runs]

    first = compare_if_changed(planted_store.uri, name, folder)
    written = (folder / "report.html").stat().st_mtime_ns
    assert first.is_new
    assert first.paragraphs[0].startswith("updated: ")
    assert len(comparison_runs()) == 1

    parent = client.create_run(experiment, tags={keys.KIND: "study", keys.STUDY: name})
    client.log_dict(parent.info.run_id, planted_store.declaration(name), keys.DECLARATION)
    second = compare_if_changed(planted_store.uri, name, folder)
    assert not second.is_new
    assert (second.paragraphs, second.details, second.report) == (first.paragraphs, first.details, first.report)
    assert (folder / "report.html").stat().st_mtime_ns == written
    assert len(comparison_runs()) == 1
    description = client.get_run(parent.info.run_id).data.tags[RUN_DESCRIPTION]
    assert description.startswith(first.paragraphs[0])
    assert comparison_runs()[0] in description

    (folder / "report.md").unlink()
    assert compare_if_changed(planted_store.uri, name, folder).is_new
    client.delete_run(comparison_runs()[0])
    assert compare_if_changed(planted_store.uri, name, folder).is_new
    planted_store.add_cell(name, "full", 3)
    assert compare_if_changed(planted_store.uri, name, folder).is_new
    assert not compare_if_changed(planted_store.uri, name, folder).is_new
