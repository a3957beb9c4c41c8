"""What is wrong with a store, in words that say what to do."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from winnow.errors import WinnowError

ELSEWHERE = "or choose another store, as in tracking=sqlite"


def build_store_error(uri: str, error: Exception) -> WinnowError:
    """Return the error that tells why a store cannot be used, and what to do.

    Args:
        uri: The store's address.
        error: What MLflow or the database raised.
    """
    told = str(error)
    return WinnowError(f"{_of_server(told) if is_server(uri) else _of_database(told)} ({redact_password(uri)})", "uri")


@contextmanager
def translate_store_errors(uri: str) -> Iterator[None]:
    """Raise what the store raises in the block as an error that states the fix, with the key ``tracking.uri``."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except WinnowError as error:
        raise error.with_prefix("tracking") if error.key == "uri" else error from error
    except (MlflowException, SQLAlchemyError, sqlite3.Error, TimeoutError) as error:
        raise build_store_error(uri, error).with_prefix("tracking") from error


def is_server(uri: str) -> bool:
    """Tell whether a store is reached over HTTP.

    >>> is_server("http://127.0.0.1:5000"), is_server("sqlite:///mlflow.db")
    (True, False)
    """
    return uri.startswith(("http://", "https://"))


def redact_password(uri: str) -> str:
    """Return an address without the password that it may carry.

    >>> redact_password("http://ann:secret@tracking.example:5000")
    'http://ann:...@tracking.example:5000'
    """
    parts = urlsplit(uri)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:...@{host}")) if ":" in user else uri


def _of_server(told: str) -> str:
    status = re.search(r"error code (\d{3})|(\d{3}) error responses", told)
    code = next((code for code in status.groups() if code), "") if status else ""
    if code == "401" or "UNAUTHENTICATED" in told:
        return (
            "the tracking server wants to know who you are (401). Set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )
    if code == "403" or "PERMISSION_DENIED" in told or "Invalid Host header" in told:
        return (
            "the tracking server refuses (403): you may not write there, or the server was not started with this "
            "address, port included, among its --allowed-hosts."
        )
    if code == "404":
        return "there is no MLflow at this address (404). Look for a typing error in tracking.uri."
    if code:
        return f"the tracking server answers with error {code}. Look into its log, {ELSEWHERE}."
    if "INTERNAL_ERROR" in told:
        return f"the tracking server fails. Look into its log, {ELSEWHERE}."
    if "timed out" in told or "timeout" in told:
        return f"the tracking server takes the call but gives no answer. Look whether it is busy or stuck, {ELSEWHERE}."
    if "valid JSON" in told:
        return "something answers at this address, but not as MLflow does. Look for a typing error in tracking.uri."
    return f"no tracking server answers at this address. Start it, {ELSEWHERE}."


def _of_database(told: str) -> str:
    if "locked" in told:
        return f"the database is locked by another program. Close what has it open for writing, {ELSEWHERE}."
    if "readonly" in told or "read-only" in told:
        return "the database may only be read. Make the file and its folder writable, or choose output_dir=FOLDER."
    found = re.search(r"found version (\w+)", told)
    if "Can't locate revision" in told or (found and not _is_known(found[1])):
        return (
            "the database was written by a newer MLflow than the installed one. Upgrade MLflow "
            "(pip install --upgrade mlflow), or choose output_dir=FOLDER."
        )
    if "out-of-date database schema" in told or re.search(r"table \S+ already exists|no such table", told):
        return (
            "the database has the schema of an older MLflow, or its upgrade was interrupted. Copy the file, then run "
            "mlflow db upgrade; if that fails, restore the file from a copy, or choose output_dir=FOLDER."
        )
    if "not a database" in told or "malformed" in told:
        return "the file is no sqlite database, or a damaged one. Restore it from a copy, or choose output_dir=FOLDER."
    if "full" in told or "disk I/O" in told:
        return "the disk is full, or cannot be written. Free some space, or choose output_dir=FOLDER."
    if "unable to open" in told:
        return (
            "the database cannot be opened. Look at the rights of the file and its folder, or choose output_dir=FOLDER."
        )
    return f"the database cannot be used: {' '.join(told.split())[:300]}."


def _is_known(revision: str) -> bool:
    """Return whether the installed MLflow knows a revision of its schema; it does not know those of newer ones."""
    import mlflow

    return any((Path(mlflow.__file__).parent / "store/db_migrations/versions").glob(f"{revision}_*.py"))
