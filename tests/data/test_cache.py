from __future__ import annotations

from pathlib import Path

import pytest

from winnow.data.cache import published
from winnow.errors import WinnowError


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.txt"
    with published(target) as draft:
        draft.write_text("half")
        assert not target.exists()
        draft.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_nothing_is_left_of_work_that_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with published(tmp_path / "result") as draft:
            draft.mkdir()
            (draft / "rows").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_folders_stays(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with published(target) as late:
        late.mkdir()
        (late / "rows").write_text("late")
        with published(target) as early:
            early.mkdir()
            (early / "rows").write_text("early")
    assert (target / "rows").read_text() == "early"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_published_between_the_look_and_the_move_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result"
    target.mkdir()
    (target / "rows").write_text("early")
    looks = iter([False])  # the first look misses the other process's folder
    see = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: next(looks, True) if path == target else see(path))
    with published(target) as draft:
        draft.mkdir()
        (draft / "rows").write_text("late")
    assert (target / "rows").read_text() == "early"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WinnowError, match="Cannot write") as caught, published(tmp_path / "file" / "result"):
        pass
    assert caught.value.key == "cache_dir"
