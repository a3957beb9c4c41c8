"""The file of the embedded store: created in one step, and again if an earlier creation was interrupted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from winnow.disk import flush_to_disk

SQLITE_PREFIX = "sqlite:///"

_JOURNALS = ("-wal", "-shm", "-journal")


def open_database(file: Path) -> None:
    """Create a database with MLflow's schema if there is none, else check that it can be written.

    A database whose creation was interrupted holds no run, so it is created again. The caller holds the store's lock.

    Raises:
        sqlite3.Error: The file is no database, is locked, or cannot be written.
        MlflowException: The schema cannot be created.
        OSError: The folder cannot be written.
    """
    if not file.exists() or is_incomplete(file):
        _create(file)
    _check_writable(file)


def is_incomplete(file: Path) -> bool:
    """Return whether the creation of MLflow's schema in a database was interrupted.

    MLflow adds its first experiment after the last migration, so a complete store has a row in ``experiments``.
    A database of another program is never taken for an incomplete store.
    """
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" in tables:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(experiments)")}
            (rows,) = connection.execute("SELECT count(*) FROM experiments").fetchone()
            return "artifact_location" in columns and not rows
    return not tables or "alembic_version" in tables


def _create(file: Path) -> None:
    """Create a database with its schema under a temporary name, then rename it."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = file.with_name(f"{file.name}.new")
    with _removed(draft):
        uri = f"{SQLITE_PREFIX}{draft.resolve()}"
        store = SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
        store._dispose_engine()
        SqlAlchemyStore._engine_map.pop(uri, None)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # one process writes while others read
        flush_to_disk(draft)
        _remove(file)  # the journals of an interrupted creation would be applied to the new file
        draft.replace(file)
        flush_to_disk(file.parent)


@contextmanager
def _removed(file: Path) -> Iterator[None]:
    """Remove a database before and after the block, with its journals."""
    _remove(file)
    try:
        yield
    finally:
        _remove(file)


def _remove(file: Path) -> None:
    for path in (file, *(file.with_name(file.name + ending) for ending in _JOURNALS)):
        path.unlink(missing_ok=True)


def _check_writable(file: Path) -> None:
    """Open a database for writing, and close it again without a change."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA user_version = 0")  # a read-only file raises at the first change, not before
        connection.execute("ROLLBACK")
