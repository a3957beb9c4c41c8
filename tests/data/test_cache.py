from __future__ import annotations

from pathlib import Path

import pytest

from winnow.data.cache import DIGESTS_FILE, is_intact, publish_folder
from winnow.errors import WinnowError


def publish(folder: Path, text: str) -> None:
    with publish_folder(folder) as draft:
        draft.mkdir()
        (draft / "rows").write_text(text)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result"
    assert not is_intact(target)
    with publish_folder(target) as draft:
        draft.mkdir()
        (draft / "rows").write_text("half")
        assert not target.exists()
        (draft / "rows").write_text("whole")
    assert (target / "rows").read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]
    assert is_intact(target)


@pytest.mark.parametrize("place", range(12))
def test_any_flipped_bit_is_found(tmp_path: Path, place: int, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "result"
    publish(target, "twelve bytes")
    assert is_intact(target)
    data = bytearray((target / "rows").read_bytes())
    data[place] ^= 1 << place % 8
    (target / "rows").write_bytes(data)
    assert not is_intact(target)
    assert not target.exists()
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "rows does not match its digest" in told
    assert "recreating it" in told
    publish(target, "twelve bytes")
    assert is_intact(target)


@pytest.mark.parametrize("name", ["rows", DIGESTS_FILE])
def test_a_missing_or_unreadable_file_is_found(tmp_path: Path, name: str) -> None:
    for damage in (Path.unlink, lambda path: path.write_bytes(b"\xff\x00")):
        publish(tmp_path / "result", "whole")
        assert is_intact(tmp_path / "result")
        damage(tmp_path / "result" / name)
        assert not is_intact(tmp_path / "result")


def test_nothing_is_left_of_work_that_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with publish_folder(tmp_path / "result") as draft:
            draft.mkdir()
            (draft / "rows").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_folders_stays(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with publish_folder(target) as late:
        late.mkdir()
        (late / "rows").write_text("late")
        with publish_folder(target) as early:
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
    with publish_folder(target) as draft:
        draft.mkdir()
        (draft / "rows").write_text("late")
    assert (target / "rows").read_text() == "early"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WinnowError, match="cannot write") as caught, publish_folder(tmp_path / "file" / "result"):
        pass
    assert caught.value.key == "cache_dir"
