"""Tracking stores that are databases: where their file lies, whether they can be written, and whose tables they have.

Addresses are read by SQLAlchemy alone, as MLflow has them read when it opens the database.
"""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import sqlalchemy
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine

from rsc_mlflow.tracking import mlflow_compat

_CONNECT_SECONDS = 5
_LOCK_SECONDS = 20
_SETTLING_SECONDS = 1.0
"""A schema that changes within this time is being made by another process at this moment."""


def is_database(uri: str) -> bool:
    """Whether a tracking address names a database that can be looked at here."""
    return uri.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql")


def sqlite_file(uri: str) -> Path | None:
    """The file that SQLAlchemy opens for this address; None for a database in memory or one that is no plain file."""
    database = sqlalchemy.make_url(uri).database
    return None if not database or database == ":memory:" or database.startswith("file:") else Path(database)


def exists(uri: str) -> bool:
    """Whether the address names a database that is there, as far as its file can tell."""
    if not is_database(uri):
        return False
    file = sqlite_file(uri) if uri.startswith("sqlite") else None
    return not uri.startswith("sqlite") or (file is not None and file.is_file())


def without_stray_folder(uri: str) -> str:
    """The same database, spelled so that MLflow makes no folder beside it.

    MLflow makes the parent of the text after ``sqlite:///`` before anything has decoded it, so that ``a%20b/mlflow.db``
    leaves an empty folder ``a%20b``.  Where the driver is named, it makes none.
    """
    text = uri.removeprefix("sqlite:///")
    if text == uri or text in ("", ":memory:"):
        return uri
    file = sqlite_file(uri)
    if file is not None and file.parent == Path(text).parent:
        return uri
    return uri.replace("sqlite:", "sqlite+pysqlite:", 1)


def trouble(uri: str) -> str | None:
    """Why MLflow could not use this database, as the rest of a sentence; None if it can.

    Raises:
        Exception: a database server does not answer.
    """
    if not uri.startswith("sqlite"):
        return foreign_schema(uri)
    file = sqlite_file(uri)
    if file is None:
        return None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _engine(uri) as engine, engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return foreign_schema(uri)
    except (OSError, sqlalchemy.exc.DBAPIError) as error:
        why = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        return f"cannot be written ({why}); free or repair {file}"


def foreign_schema(uri: str) -> str | None:
    """What is wrong with the tables of a database; None if they are this MLflow's, or there are none yet.

    MLflow would bring some of them up to date without a word, and then their own MLflow could not use them any more.
    """
    with _engine(uri) as engine:
        found = _settled_revision(engine)
    if found in (None, _expected_revision()):
        return None
    address = sqlalchemy.make_url(uri).render_as_string()  # without its password
    return (
        f"needs `mlflow db upgrade {address}`, after a back-up: it was made by another version of MLflow than "
        f"{mlflow.__version__} (its tables are of revision {found}, not {_expected_revision()}); where that one is "
        "newer, install it instead"
    )


@contextmanager
def _engine(uri: str) -> Iterator[Engine]:
    limit = {"timeout": _LOCK_SECONDS} if uri.startswith("sqlite") else {"connect_timeout": _CONNECT_SECONDS}
    engine = sqlalchemy.create_engine(uri, connect_args=limit)
    try:
        yield engine
    finally:
        engine.dispose()


def _settled_revision(engine: Engine) -> str | None:
    """The revision of the tables, after another process that makes them just now has ended."""
    found = _revision(engine)
    while found not in (None, _expected_revision()):
        time.sleep(_SETTLING_SECONDS)
        before, found = found, _revision(engine)
        if found == before:
            break
    return found


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@functools.cache
def _expected_revision() -> str:
    return mlflow_compat.newest_schema()
