"""The cache folder that all output folders of a user share."""

import sys
from pathlib import Path

import pytest

from winnow.machine import CACHE_VARIABLE, processor_name, user_cache_folder


def test_the_environment_variable_sets_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    assert user_cache_folder() == tmp_path / "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="the default differs by platform")
def test_the_default_follows_the_xdg_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_folder() == tmp_path / "winnow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache_folder() == Path.home() / ".cache" / "winnow"


def test_the_processor_has_a_name() -> None:
    assert processor_name()
