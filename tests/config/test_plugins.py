"""Packages that extend Winnow through an entry point."""

import importlib
from pathlib import Path

import pytest

from winnow.cli import main

SIGNAL = """
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from winnow.filters import Signal


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Exclamations(Signal):
    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.1
    at_most: int = 1

    def settings(self):
        return {}

    def score(self, texts):
        return pa.array([None if text is None else float(text.count("!")) for text in texts], pa.float64())

    def keep(self, scores):
        return pc.less_equal(scores, float(self.at_most))
"""

FILTER = """
_target_: winnow.filters.Filter
name: calm
signals:
  calm: {_target_: calm_plugin.signals.Exclamations, at_most: 0}
keep: calm
"""


def install(folder: Path) -> None:
    """Write an installed package with an entry point, as pip would."""
    package = folder / "calm_plugin"
    (package / "conf" / "filter").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "signals.py").write_text(SIGNAL)
    (package / "conf" / "filter" / "calm.yaml").write_text(FILTER)
    info = folder / "calm_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: calm-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[winnow.plugins]\ncalm = calm_plugin\n")


def test_a_plugin_provides_a_signal_and_a_config_file(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = workplace / "site"
    site.mkdir()
    install(site)
    assert main(["train", "filter=calm", "--cfg"]) == 1
    assert "this config group has no option 'calm'" in capsys.readouterr().err
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    assert main(["train", "filter=calm", "--cfg"]) == 0
    assert "calm_plugin.signals.Exclamations" in capsys.readouterr().out


def test_a_package_without_an_entry_point_is_not_admitted(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = workplace / "site"
    site.mkdir()
    install(site)
    (site / "calm_plugin-1.0.dist-info" / "entry_points.txt").unlink()
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    node = "filter.signals.fit={_target_: calm_plugin.signals.Exclamations}"
    assert main(["train", "filter=nike_positive", f"+{node}", "--cfg"]) == 1
    assert "allow_targets=[calm_plugin]" in capsys.readouterr().err
