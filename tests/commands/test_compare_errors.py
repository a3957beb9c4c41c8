"""Damaged or unavailable stores: `winnow compare` fails quickly, with a fix in the error."""

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from winnow.cli import main
from winnow.tracking import Store, keys, track


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def run_compare(capsys: pytest.CaptureFixture[str], uri: str) -> str:
    started = time.monotonic()
    assert main(["compare", "study=mine", "tracking=server", f"tracking.uri={uri}"]) == 1
    assert time.monotonic() - started < 30
    message = " ".join(capsys.readouterr().err.split())
    assert message.startswith("winnow: tracking.uri: ")
    assert "Traceback" not in message
    return message


@pytest.mark.slow
def test_a_silent_server_is_reported(workplace: Path, silent_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did not respond" in run_compare(capsys, silent_server)


def test_a_dead_server_is_reported(workplace: Path, silent_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    assert "no tracking server responds" in run_compare(capsys, f"http://127.0.0.1:{port}")


def test_only_studies_are_offered(workplace: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with track(store, store.experiment("mine"), "mine", {keys.KIND: "study"}):
        pass
    with track(store, store.experiment("filters"), "x", {keys.KIND: "filter"}):
        pass
    assert main(["compare", "mime"]) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "no study named 'mime' in the store. Did you mean 'mine'? Available: mine." in message
    assert main(["compare"]) == 1
    assert "`winnow runs` lists the studies" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("damage", ["header", "page", "truncated"])
def test_a_damaged_database_is_reported(
    workplace: Path, store: Store, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    with track(store, store.experiment("mine"), "x", {}):
        pass
    file = workplace / "copy.db"
    with (
        closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(file)) as copy,
    ):
        source.backup(copy)
    data = bytearray(file.read_bytes())
    if damage == "header":
        data[:16] = b"x" * 16
    elif damage == "page":
        data[4096:] = b"\xff" * (len(data) - 4096)
    else:
        data = data[: len(data) // 2]
    file.write_bytes(data)
    run_compare(capsys, f"sqlite:///{file}")
