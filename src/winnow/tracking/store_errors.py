"""Build errors that state why a store cannot be used and how to fix the problem."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from winnow.errors import WinnowError
from winnow.tracking.offline.request_timeouts import NoResponseError

OTHER_STORE_HINT = "or use another store, such as tracking=sqlite"

_FAILED_REQUEST = re.compile(r"API request to |\([\w.]+\.(OperationalError|DatabaseError)\)")
"""Matches the start of MLflow's message if a request to a server or a database failed."""


def build_store_error(uri: str, error: Exception) -> WinnowError:
    """Return an error that states why a store cannot be used and how to fix the problem.

    Args:
        uri: The store's URI.
        error: The exception that MLflow or the database raised.
    """
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        extra = " (pip install 'winnow-mlm[postgres]')" if uri.startswith("postgresql") else ""
        message = f"the database driver is not installed: {text}. Install it{extra}, {OTHER_STORE_HINT}."
        return WinnowError(f"{message} ({redact_password(uri)})", "uri")
    message = _describe_server_error(text) if is_server(uri) else _describe_database_error(text)
    return WinnowError(f"{message} ({redact_password(uri)})", "uri")


@contextmanager
def translate_store_errors(uri: str) -> Iterator[None]:
    """Convert store exceptions raised in the block to a :class:`WinnowError` with the key ``tracking.uri``."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except WinnowError as error:
        raise error.with_prefix("tracking") if error.key == "uri" else error from error
    except (MlflowException, SQLAlchemyError, sqlite3.Error, NoResponseError) as error:
        raise build_store_error(uri, error).with_prefix("tracking") from error


def is_store_error(error: Exception) -> bool:
    """Return whether an exception means that a store does not respond or cannot be read."""
    if isinstance(error, NoResponseError | sqlite3.Error):
        return True
    kinds = {cls.__name__ for cls in type(error).__mro__}  # importing the two packages takes seconds
    return "SQLAlchemyError" in kinds or ("MlflowException" in kinds and bool(_FAILED_REQUEST.match(str(error))))


def is_server(uri: str) -> bool:
    """Return whether a store is accessed over HTTP.

    >>> is_server("http://127.0.0.1:5000"), is_server("sqlite:///mlflow.db")
    (True, False)
    """
    return uri.startswith(("http://", "https://"))


DATABASE_SCHEMES = ("mysql", "mssql", "postgresql")
"""URL schemes of the databases that MLflow supports in addition to SQLite. The name of a driver can be appended, as in
`postgresql+psycopg2`."""


def find_address_problem(uri: str) -> str | None:
    """Return a description of the problem with a store's address, or `None` if the address is valid.

    >>> find_address_problem("http://127.0.0.1:99999")
    'expected a port from 0 to 65535'
    """
    scheme, separator, location = uri.partition(":")
    if scheme == "csv":
        return None if location.strip() else "expected a folder after csv:"
    if scheme == "sqlite":
        file = location.removeprefix("///")
        return None if file != location and file.strip("/ ") else "expected a file after sqlite:///"
    if not separator or scheme.partition("+")[0] not in ("http", "https", *DATABASE_SCHEMES):
        return "expected the address of a store"
    try:
        address = urlsplit(uri)
        has_host, _ = bool(address.hostname), address.port
    except ValueError as error:
        return "expected a port from 0 to 65535" if "ort" in str(error) else "expected a valid host"
    return None if has_host and not any(map(str.isspace, uri)) else f"expected a host after {scheme}://"


def redact_password(uri: str) -> str:
    """Return a URI with its password replaced by dots.

    >>> redact_password("http://ann:secret@tracking.example:5000")
    'http://ann:...@tracking.example:5000'
    """
    try:
        components = urlsplit(uri)
    except ValueError:  # the address is not valid
        return uri.rpartition("@")[2]
    user, _, host = components.netloc.rpartition("@")
    return urlunsplit(components._replace(netloc=f"{user.partition(':')[0]}:...@{host}")) if ":" in user else uri


def _describe_server_error(text: str) -> str:
    status = re.search(r"error code (\d{3})|(\d{3}) error responses", text)
    code = next((code for code in status.groups() if code), "") if status else ""
    if code == "401" or "UNAUTHENTICATED" in text:
        return (
            "the tracking server requires authentication (401). Set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )
    if code == "403" or "PERMISSION_DENIED" in text or "Invalid Host header" in text:
        return (
            "the tracking server denied access (403). Check your permissions, or start the server with this host and "
            "port in --allowed-hosts."
        )
    if code == "404":
        return "there is no MLflow server at this address (404). Check tracking.uri for a typo."
    if code:
        return f"the tracking server returned error {code}. Check its log, {OTHER_STORE_HINT}."
    if "INTERNAL_ERROR" in text:
        return f"the tracking server returned an internal error. Check its log, {OTHER_STORE_HINT}."
    if "timed out" in text or "timeout" in text:
        return (
            "the tracking server accepted the request but did not respond. Check its load or restart it, then run the "
            f"same command again, {OTHER_STORE_HINT}."
        )
    if "valid JSON" in text:
        return "the server at this address is not an MLflow server. Check tracking.uri for a typo."
    return f"no tracking server responds at this address. Start it, {OTHER_STORE_HINT}."


def _describe_database_error(text: str) -> str:
    if "locked" in text:
        return f"the database is locked by another program. Close the program that writes to it, {OTHER_STORE_HINT}."
    if "readonly" in text or "read-only" in text:
        return "the database is read-only. Make the file and its folder writable, or choose output_dir=FOLDER."
    version = re.search(r"found version (\w+)", text)
    if "Can't locate revision" in text or (version and not _is_known_revision(version[1])):
        return (
            "the database was created by a newer version of MLflow than the one installed. Upgrade MLflow "
            "(pip install --upgrade mlflow), or choose output_dir=FOLDER."
        )
    if "out-of-date database schema" in text or re.search(r"table \S+ already exists|no such table", text):
        return (
            "the database has the schema of an older MLflow version, or its upgrade was interrupted. Back up the file, "
            "then run mlflow db upgrade; if that fails, restore the backup, or choose output_dir=FOLDER."
        )
    if "not a database" in text or "malformed" in text:
        return (
            "the file is not a SQLite database, or is damaged. Restore it from a backup, or choose output_dir=FOLDER."
        )
    if "full" in text or "disk I/O" in text:
        return "the disk is full or not writable. Free up disk space, or choose output_dir=FOLDER."
    if "unable to open" in text:
        return (
            "the database cannot be opened. Check the permissions of the file and its folder, or choose "
            "output_dir=FOLDER."
        )
    return f"the database cannot be used: {' '.join(text.split())[:300]}. Repair it, or choose output_dir=FOLDER."


def _is_known_revision(revision: str) -> bool:
    """Return whether the installed MLflow contains the migration for a schema revision."""
    import mlflow

    return any((Path(mlflow.__file__).parent / "store/db_migrations/versions").glob(f"{revision}_*.py"))
