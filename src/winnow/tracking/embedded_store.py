"""Create the embedded SQLite store atomically, and recreate it if an earlier attempt was interrupted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from winnow.fsync import flush_to_disk

SQLITE_PREFIX = "sqlite:///"

_JOURNAL_SUFFIXES = ("-wal", "-shm", "-journal")


def create_or_check_database(file: Path) -> None:
    """Create a database with MLflow's schema if it does not exist; otherwise check that it is writable.

    An incomplete database contains no runs and is recreated. The caller must hold the store's lock.

    Raises:
        sqlite3.Error: If the file is not a database, is locked, or is not writable.
        MlflowException: If the schema cannot be created.
        OSError: If the folder is not writable.
    """
    if not file.exists() or is_incomplete(file):
        _create_database(file)
    _check_writable(file)


def is_incomplete(file: Path) -> bool:
    """Return whether the creation of MLflow's schema was interrupted.

    MLflow adds its first experiment after the last migration, so a complete store has a row in ``experiments``.
    A database created by another program does not count as incomplete.
    """
    with closing(sqlite3.connect(file)) as connection:
        table_names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" in table_names:
            column_names = {row[1] for row in connection.execute("PRAGMA table_info(experiments)")}
            (experiment_count,) = connection.execute("SELECT count(*) FROM experiments").fetchone()
            return "artifact_location" in column_names and not experiment_count
    return not table_names or "alembic_version" in table_names


def _create_database(file: Path) -> None:
    """Create a database with MLflow's schema in a temporary file, then move it to its final path."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    temporary = file.with_name(f"{file.name}.new")
    with _temporary_database(temporary):
        uri = f"{SQLITE_PREFIX}{temporary.resolve()}"
        store = SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
        store._dispose_engine()
        SqlAlchemyStore._engine_map.pop(uri, None)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # allow other processes to read during a write
        flush_to_disk(temporary)
        _remove_database(file)  # SQLite would apply leftover journals to the new file
        temporary.replace(file)
        flush_to_disk(file.parent)


@contextmanager
def _temporary_database(file: Path) -> Iterator[None]:
    """Remove a temporary database and its journals before and after the block."""
    _remove_database(file)
    try:
        yield
    finally:
        _remove_database(file)


def _remove_database(file: Path) -> None:
    for path in (file, *(file.with_name(file.name + suffix) for suffix in _JOURNAL_SUFFIXES)):
        path.unlink(missing_ok=True)


def _check_writable(file: Path) -> None:
    """Raise `sqlite3.Error` if a database is not writable; the database is not changed."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA user_version = 0")  # SQLite reports a read-only file only on a write
        connection.execute("ROLLBACK")
