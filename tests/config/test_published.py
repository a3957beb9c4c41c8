"""The experiments that reproduce published figures: they compose, and without the Hub they say so in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.cli import main
from winnow.config import TrainConfig, compose_cells
from winnow.run.run_components import build_components
from winnow.tracking import Store
from winnow.tracking.run_queries import read_run_metrics

CONF = Path(__file__).parents[2] / "conf/experiment"
PUBLISHED = ["hackathon", "hf_course_imdb", "hf_course_imdb_fixed_masks", "hf_guide_eli5", "uptrain"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_experiment_composes_and_its_components_can_be_built(workplace: Path, name: str) -> None:
    cells, _ = compose_cells("train", TrainConfig, [f"experiment={name}"])
    for cell in cells:
        components = build_components(cell.config)
        assert cell.config.study.name == name
        kind, _, rest = cell.config.study.primary_metric.partition("/")
        assert kind != "probe" or rest.partition("/")[0] in components.probes


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_figure_stands_with_its_source_in_a_short_file(name: str) -> None:
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    assert "Published" in text
    assert len(text.splitlines()) < 40


@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), [("hf_course_imdb", "dataset.source.name"), ("uptrain", "model.name")])
def test_without_the_hub_an_experiment_stops_with_the_reason(
    workplace: Path, store: Store, name: str, key: str
) -> None:
    """A process of its own, whose way to the Hub ends at a closed port of this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "winnow", "train", f"experiment={name}"],
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(workplace / "empty")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert f"winnow: {key}" in told
    assert "Traceback" not in told


def final(store: Store, study: str) -> list[dict[str, float]]:
    found = store.client().search_runs([store.experiment(study)], "tags.`winnow.kind` = 'cell'")
    return [read_run_metrics(store.client(), run) for run in sorted(found, key=lambda run: run.info.start_time)]


@pytest.mark.network
def test_the_course_on_imdb(workplace: Path, store: Store) -> None:
    assert main(["train", "experiment=hf_course_imdb"]) == 0
    (metrics,) = final(store, "hf_course_imdb")
    assert metrics["before/test/all/perplexity"] == pytest.approx(21.75, rel=0.05)
    assert metrics["final/test/all/perplexity"] == pytest.approx(11.32, rel=0.05)


@pytest.mark.network
def test_the_course_on_imdb_with_fixed_masks(workplace: Path, store: Store) -> None:
    assert main(["train", "experiment=hf_course_imdb_fixed_masks"]) == 0
    (run,) = store.client().search_runs([store.experiment("hf_course_imdb_fixed_masks")])
    looks = store.client().get_metric_history(run.info.run_id, "validation/perplexity")
    assert [look.value for look in looks] == pytest.approx([11.40, 10.90, 10.73], rel=0.03)


@pytest.mark.network
def test_the_guide_on_eli5(workplace: Path, store: Store) -> None:
    assert main(["train", "experiment=hf_guide_eli5"]) == 0
    (metrics,) = final(store, "hf_guide_eli5")
    assert metrics["final/test/all/perplexity"] == pytest.approx(8.76, rel=0.25)


@pytest.mark.network
def test_uptrains_example(workplace: Path, store: Store) -> None:
    assert main(["train", "experiment=uptrain"]) == 0
    (metrics,) = final(store, "uptrain")
    assert metrics["final/test/uptrain_exact/kept/perplexity"] == pytest.approx(1.94, rel=0.25)


@pytest.mark.network
def test_the_hackathons_v1_and_v2(workplace: Path, store: Store, shared_data: Path) -> None:
    assert main(["train", "experiment=hackathon", f"data_dir={shared_data}"]) == 0
    full, filtered = final(store, "hackathon")
    assert full["before/test/all/perplexity"] == pytest.approx(97.47, rel=0.25)
    assert full["final/test/all/perplexity"] == pytest.approx(4.23, rel=0.25)
    assert filtered["before/test/uptrain_exact/kept/perplexity"] == pytest.approx(62.14, rel=0.25)
    assert filtered["final/test/uptrain_exact/kept/perplexity"] == pytest.approx(2.33, rel=0.25)
