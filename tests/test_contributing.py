"""The walkthroughs of CONTRIBUTING.md, written to disk as an installed package and executed."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from winnow.cli import main
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
WALKTHROUGHS = [command for command in COMMANDS if command.startswith("winnow ")]


@pytest.fixture
def package(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's package, installed as pip would install it."""
    site = workplace / "site"
    for text in re.findall(r"```(?:python|yaml|toml)\n(# .*?)```", GUIDE, re.DOTALL):
        file = site / text.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (site / "winnow_example" / "__init__.py").touch()
    project = tomllib.loads((site / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / "winnow_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    return site


def test_every_kind_of_component_has_a_walkthrough() -> None:
    assert len(WALKTHROUGHS) == 4
    for heading in ("A signal", "A probe and a metric", "A dataset", "A launcher", "The efficient forward pass"):
        assert f"### {heading}" in GUIDE


@pytest.mark.slow
def test_a_signal_filters(package: Path, workplace: Path) -> None:
    assert main(shlex.split(WALKTHROUGHS[0])[1:]) == 0
    kept = (workplace / "outputs/filters/synthetic_reviews-calm/kept.csv").read_text(encoding="utf-8")
    assert kept
    assert "!" not in kept


@pytest.mark.slow
def test_a_probe_and_a_metric_are_logged(package: Path, store: Store) -> None:
    assert main(shlex.split(WALKTHROUGHS[1])[1:]) == 0
    (run,) = store.client().search_runs([store.experiment("scratchpad")], f"tags.`{keys.KIND}` = 'cell'")
    assert 0 < read_run_metrics(store.client(), run)["final/probe/service/top_probability"] < 1


@pytest.mark.slow
def test_a_dataset_trains(package: Path, store: Store) -> None:
    assert main(shlex.split(WALKTHROUGHS[2])[1:]) == 0
    (run,) = store.client().search_runs([store.experiment("scratchpad")], f"tags.`{keys.KIND}` = 'cell'")
    assert run.data.metrics["data/train_rows"] > 200


@pytest.mark.slow
def test_a_launcher_runs_the_cells_in_its_order(package: Path, store: Store) -> None:
    assert main(shlex.split(WALKTHROUGHS[3])[1:]) == 0
    runs = store.client().search_runs([store.experiment("backwards")], f"tags.`{keys.KIND}` = 'cell'")
    runs = sorted(runs, key=lambda run: run.info.start_time)
    order = [(run.data.tags[keys.ARM], run.data.tags[keys.SEED]) for run in runs]
    assert order == [("nike_positive", "2"), ("nike_positive", "1"), ("full", "2"), ("full", "1")]


def test_an_architecture_gives_the_logits_of_the_reference(package: Path) -> None:
    import numpy as np
    import torch
    from transformers import CamembertConfig, CamembertForMaskedLM

    from winnow.training import masked_logits
    from winnow.training.forward.architectures import find_architectures
    from winnow.training.masked_batch import MaskedBatch

    find_architectures.cache_clear()
    try:
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        model = CamembertForMaskedLM(CamembertConfig(vocab_size=60, **sizes)).eval()
        lengths = np.array([5, 7, 5])
        ids = np.random.default_rng(0).integers(5, 60, lengths.sum())
        labels = np.where(np.arange(len(ids)) % 3 == 0, ids, -100)
        batch = MaskedBatch.from_flat_tokens(ids, labels, lengths)
        efficient, reference = (masked_logits(model, batch, mode)[0] for mode in ("efficient", "reference"))
        torch.testing.assert_close(efficient, reference, rtol=0, atol=1e-5)
    finally:
        find_architectures.cache_clear()
