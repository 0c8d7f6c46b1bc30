"""MLflow's server with the dashboards: ``mlflow server --app-name rsc`` and ``--app-name rsc-basic-auth``.

The dashboards are registered on MLflow's own Flask app, so MLflow's host check and login apply to them.  This module
adds the checks that MLflow makes only for its own routes.  It refuses requests from other origins.  With basic auth, it
admits all logged-in users to the dashboards (MLflow admits only administrators to routes that it does not know), and
the pages show only experiments that the user may read.
"""

import contextlib
import fcntl
import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

import flask
from mlflow.environment_variables import (
    MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE,
    MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW,
    MLFLOW_SQLALCHEMYSTORE_POOL_SIZE,
)
from mlflow.exceptions import MlflowException

from rsc_mlflow import plugins
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import mlflow_compat
from rsc_mlflow.tracking.details import VERSIONS, Details, version_table
from rsc_mlflow.tracking.frame import RunStore

_logger = logging.getLogger(__name__)

PATH = "/dashboards/"


def create_app() -> Any:
    """Create the app of ``--app-name rsc``: MLflow's server and the dashboards under ``/dashboards/``."""
    _provide_connections()
    app = mlflow_compat.server_app()
    _mount(app, readable=None)
    return mlflow_compat.asgi(app)


def create_basic_auth_app() -> Any:
    """Create the app of ``--app-name rsc-basic-auth``: the same with MLflow's basic auth.

    If the secret key or the administrator's password is missing, the whole server stops with one message.  Otherwise
    its supervisor would restart the worker forever.
    """
    _provide_connections()
    app = mlflow_compat.server_app()
    try:
        with _one_at_a_time(mlflow_compat.user_database()):  # all workers create and migrate the same user database
            served = mlflow_compat.with_log_in(app)
    except (MlflowException, ImportError) as error:
        _end_server(str(error))
    prefix = _mount(app, readable=_readable)
    mlflow_compat.set_validators(lambda validators: _WithPages(validators, prefix))
    return served


def _provide_connections() -> None:
    """Allow enough database connections for all threads of a worker, unless the environment sets their number.

    A worker of MLflow's server handles up to 40 requests at once, some of which use two connections, but by default it
    opens at most 15.  With a few dozen runs logging at the same time, requests would wait and fail after 30 s.
    """
    os.environ.setdefault(MLFLOW_SQLALCHEMYSTORE_POOL_SIZE.name, "10")
    os.environ.setdefault(MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW.name, "70")


def _mount(app: flask.Flask, readable: Callable[[Collection[str]], Collection[str]] | None) -> str:
    """Register the dashboards on MLflow's Flask app and return their URL prefix.

    They are imported here because the main process of ``mlflow server`` imports this module, too, without serving.
    """
    try:
        plugins.load()
    except InputError as error:
        _end_server(str(error))
    from dashboards.app import build_app
    from dashboards.guard import refuse_foreign_origins, set_security_headers
    from dashboards.repository import RunRepository

    prefix, ui = mlflow_compat.static_prefix(PATH), mlflow_compat.static_prefix("/")
    store = RunStore(mlflow_compat.backend_store())
    details = AsCaller(app, store) if readable else Details(lambda: store.client, _reader(app))
    repository = RunRepository(
        store, details, readable=readable, ui=ui, where="behind this server", writer=ThroughRoutes(app)
    )
    if os.environ.get(MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE.name) != "true":
        refuse_foreign_origins(app, prefix, mlflow_compat.allowed_origins())
    set_security_headers(app, prefix)
    build_app(repository, app, prefix)
    store.refresh_soon()
    return prefix


class _WithPages(dict[tuple[str, str], Callable[[], bool]]):
    """MLflow's mapping of (path, method) to validators, extended by all paths below the dashboards.

    MLflow looks up exact paths, which cannot be listed here because the names of Dash's files contain versions.  The
    validator admits every logged-in user; the pages filter what they show.
    """

    def __init__(self, validators: dict[tuple[str, str], Callable[[], bool]], prefix: str) -> None:
        super().__init__(validators)
        self._prefix = prefix

    def get(self, key: tuple[str, str], default: Any = None) -> Any:
        path, method = key
        if path.startswith(self._prefix) and method in ("GET", "HEAD", "POST"):
            return mlflow_compat.caller_is_known
        return super().get(key, default)


def _readable(experiment_ids: Collection[str]) -> Collection[str]:
    """Return the experiments that the user of the current request may read; none if there is no user."""
    return mlflow_compat.readable_experiments(experiment_ids) if mlflow_compat.caller_is_known() else ()


def _ask(app: flask.Flask, path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
    """Call one of MLflow's own routes within this process; return the status and the content."""
    with contextlib.closing(
        app.test_client().get(mlflow_compat.static_prefix(path), query_string=query, headers=headers)
    ) as answer:
        return answer.status_code, answer.get_data()


def _reader(app: flask.Flask) -> Callable[[str, str], bytes | None]:
    """Return a function that reads artifacts through MLflow's own route, which knows where they are stored."""

    def read(run_id: str, path: str) -> bytes | None:
        status, content = _ask(app, "/get-artifact", {"run_uuid": run_id, "path": path}, _caller_headers())
        return content if status == 200 else None

    return read


def _caller_headers() -> dict[str, str]:
    """Return the headers of the current request that identify the user."""
    return {k: v for k, v in flask.request.headers.items() if k.lower() in ("host", "authorization", "cookie")}


class ThroughRoutes:
    """Writes tags through MLflow's own routes with the caller's credentials, so that MLflow checks the permission.

    Each method returns an error message, which is empty if the tag was written or deleted.
    """

    def __init__(self, app: flask.Flask) -> None:
        self._app = app

    def set_run_tag(self, run_id: str, key: str, value: str) -> str:
        """Set a tag of a run."""
        return self._send("runs/set-tag", "this run", run_id=run_id, key=key, value=value)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> str:
        """Set a tag of an experiment."""
        what = "this experiment"
        return self._send("experiments/set-experiment-tag", what, experiment_id=experiment_id, key=key, value=value)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> str:
        """Delete a tag of an experiment."""
        return self._send("experiments/delete-experiment-tag", "this experiment", experiment_id=experiment_id, key=key)

    def _send(self, route: str, what: str, **fields: str) -> str:
        path = mlflow_compat.static_prefix(f"/api/2.0/mlflow/{route}")
        with contextlib.closing(self._app.test_client().post(path, json=fields, headers=_caller_headers())) as answer:
            if answer.status_code in (401, 403):
                return f"You may read {what} but not edit it. Ask its owner for the permission EDIT."
            return "" if answer.status_code == 200 else f"MLflow refused: {answer.get_data(as_text=True)[:200]}"


class AsCaller(Details):
    """Metric histories, artifacts and models as the user of the current request may read them; nothing is cached.

    The pages request histories only of runs that the user may read.  Artifacts and model versions are read through
    MLflow's own routes with the user's credentials.
    """

    def __init__(self, app: flask.Flask, store: RunStore) -> None:
        super().__init__(lambda: store.client, _reader(app), keep_seconds=0)
        self._app = app

    def _models(self) -> Any:
        versions = self._search("model-versions", "model_versions", order_by="last_updated_timestamp DESC")
        models = self._search("registered-models", "registered_models")
        return version_table([_Version(one) for one in versions], [_Model(one) for one in models])

    def _search(self, what: str, key: str, **query: str) -> list[dict[str, Any]]:
        path = f"/api/2.0/mlflow/{what}/search"
        status, content = _ask(self._app, path, {"max_results": str(VERSIONS), **query}, _caller_headers())
        return flask.json.loads(content).get(key, []) if status == 200 else []


class _Version:
    """A model version from the REST API, with the attributes of MLflow's entity."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.name, self.version = fields.get("name", ""), fields.get("version", "")
        self.tags = {tag["key"]: tag.get("value", "") for tag in fields.get("tags", [])}
        self.run_id = fields.get("run_id", "")
        self.creation_timestamp = int(fields.get("creation_timestamp", 0))


class _Model:
    """A registered model from the REST API, with the attributes of MLflow's entity."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.name = fields.get("name", "")
        self.aliases = {one["alias"]: one["version"] for one in fields.get("aliases", [])}


@contextlib.contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Hold a lock of this name, which all processes of this user on this machine share."""
    path = Path(tempfile.gettempdir(), f"rsc-{os.getuid()}-{crc32(name.encode()):08x}.lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _end_server(reason: str) -> NoReturn:
    """Print one message and stop the supervisor, which would otherwise restart this worker."""
    _logger.error("error: %s", reason)
    if multiprocessing.parent_process() is not None:
        os.kill(os.getppid(), signal.SIGTERM)
    raise SystemExit(1)
