"""Checks of tracking stores that are databases: path of the file, write access, version of the tables.

SQLAlchemy parses the addresses, as in MLflow.
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
"""If the schema changes within this time, another process is creating the tables."""


def is_database(uri: str) -> bool:
    """Return whether a tracking URI names a SQLite, PostgreSQL or MySQL database."""
    return uri.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql")


def sqlite_file(uri: str) -> Path | None:
    """Return the file that SQLAlchemy opens for this URI; None if the database is in memory or not a plain file."""
    database = sqlalchemy.make_url(uri).database
    return None if not database or database == ":memory:" or database.startswith("file:") else Path(database)


def exists(uri: str) -> bool:
    """Return whether the URI names a database server or an existing SQLite file."""
    if not is_database(uri):
        return False
    file = sqlite_file(uri) if uri.startswith("sqlite") else None
    return not uri.startswith("sqlite") or (file is not None and file.is_file())


def without_stray_folder(uri: str) -> str:
    """Return a URI of the same database for which MLflow does not create a stray folder.

    MLflow creates the parent folder of the undecoded path after ``sqlite:///``, e.g. an empty folder ``a%20b`` for
    ``a%20b/mlflow.db``.  It does not if the URI names the driver.
    """
    text = uri.removeprefix("sqlite:///")
    if text == uri or text in ("", ":memory:"):
        return uri
    file = sqlite_file(uri)
    if file is not None and file.parent == Path(text).parent:
        return uri
    return uri.replace("sqlite:", "sqlite+pysqlite:", 1)


def trouble(uri: str) -> str | None:
    """Return why MLflow cannot use this database, as a predicate ("cannot be written …"); None if it can.

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
        return f"cannot be written ({why}). Free or repair {file}"


def foreign_schema(uri: str) -> str | None:
    """Return why this version of MLflow should not use the tables of a database; None if it can, or there are none.

    MLflow would migrate some older tables without notice, and the older MLflow could then not use them.
    """
    with _engine(uri) as engine:
        found = _settled_revision(engine)
    if found in (None, _expected_revision()):
        return None
    address = sqlalchemy.make_url(uri).render_as_string()  # without its password
    return (
        f"was made by another version of MLflow than {mlflow.__version__} (its tables have revision {found}, not "
        f"{_expected_revision()}). If that version is older, make a backup and run `mlflow db upgrade {address}`; "
        "if it is newer, install it"
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
    """Return the revision of the tables; wait while another process creates them."""
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
