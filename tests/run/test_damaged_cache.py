"""Flipped bits in the cache: damaged entries are recomputed, and no score changes."""

from pathlib import Path

import pytest

from winnow.cli import main
from winnow.tracking import Store
from winnow.tracking.run_queries import read_run_metrics

KINDS = {"corpus", "scores", "explained", "tokenizer", "tokens", "base_scores", "linear"}


def scores(store: Store) -> list[dict[str, float]]:
    runs = store.client().search_runs([store.experiment("scratchpad")], order_by=["attributes.start_time ASC"])
    prefixes = ("final/", "before/")
    metrics = [read_run_metrics(store.client(), run) for run in runs]
    return [
        {name: value for name, value in values.items() if name.startswith(prefixes) and "second" not in name}
        for values in metrics
    ]


@pytest.mark.slow
def test_a_flipped_bit_in_every_cached_file_changes_no_score(
    workplace: Path, small: list[str], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["train", "filter=nike_positive", *small]
    assert main(run) == 0
    cache = workplace / "outputs/cache"
    files = [file for file in sorted(cache.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    assert {file.relative_to(cache).parts[0] for file in files} >= KINDS - {"linear"}
    for position, file in enumerate(files):
        data = bytearray(file.read_bytes())
        data[(position * 7919) % len(data)] ^= 1 << position % 8
        file.write_bytes(data)
    capsys.readouterr()
    assert main(run) == 0
    messages = capsys.readouterr().err
    folders = {file.parent for file in files}
    assert messages.count("recreating it") == len(folders)
    assert all(f"{folder.relative_to(workplace)} is damaged" in messages for folder in folders)
    first, second = scores(store)
    assert first
    assert first == second
