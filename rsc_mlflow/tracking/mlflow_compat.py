"""All uses of undocumented parts of MLflow, each with a test that fails if that part changes.

The tests are in ``tests/tracking/test_mlflow_compat.py``; one of them checks that no other module uses MLflow's
internals.  Modules of MLflow's server are imported inside the functions, because only the server needs them.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from mlflow.environment_variables import _MLFLOW_SGI_NAME
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils as tracking_utils
from mlflow.tracking.context import registry
from mlflow.utils import requirements_utils
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT, MLFLOW_GIT_DIRTY
from mlflow.utils.rest_utils import http_request

if TYPE_CHECKING:
    import flask

DATASET_CONTEXT, GIT_COMMIT, GIT_DIRTY = MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT, MLFLOW_GIT_DIRTY
"""Tags that MLflow's UI reads: one of a run's dataset input, two of a run."""
NOISY_LOGGERS = ("alembic", "mlflow.store.db.utils", "urllib3.connectionpool")
"""Loggers of problems that this project reports itself."""
_host_creds: Callable[[str], Any] = get_default_host_creds  # these have no type annotations
_artifact_repository: Callable[..., Any] = get_artifact_repository
_http_request: Callable[..., requests.Response] = http_request
_REMEMBERED = 1024  # MLflow's own limit
_STATUS_IN_MESSAGE = re.compile(r"failed with error code (\d{3}) != \d{3}")

Validators = dict[tuple[str, str], Callable[[], bool]]
"""(path, method) → function that returns whether the caller may make this request."""


# ---- the client
def context_tags() -> dict[str, str]:
    """Return MLflow's tags for user, program and git commit, and those of ``MLFLOW_RUN_CONTEXT``."""
    return {key: str(value) for key, value in registry.resolve_tags().items()}


def host_creds(uri: str) -> Any:
    """Return the address, credentials and certificates that MLflow's client uses for a server."""
    return _host_creds(uri)


def post(uri: str, endpoint: str, fields: Mapping[str, str]) -> requests.Response:
    """Send a POST request with the credentials and retries of MLflow's client; return the response, also an error."""
    return _http_request(host_creds(uri), endpoint, "POST", json=dict(fields), raise_on_status=False)


def remember_artifact_folder(client: MlflowClient, owner: str, uri: str) -> None:
    """Tell MLflow's client the artifact folder of a new run or logged model, which it would request from the store."""
    folders = tracking_utils._artifact_repos_cache
    folders[owner] = _artifact_repository(uri, tracking_uri=client.tracking_uri)
    while len(folders) > _REMEMBERED:
        folders.popitem(last=False)


def delete_artifact(client: MlflowClient, run_id: str, path: str) -> None:
    """Delete one artifact of a run; MLflow's client has no method for this."""
    artifact_uri = client.get_run(run_id).info.artifact_uri
    _artifact_repository(artifact_uri, tracking_uri=client.tracking_uri).delete_artifacts(path)


def http_status(error: MlflowException) -> int:
    """Return the HTTP status of an error of MLflow.

    If a proxy answered instead of MLflow, the status is only in the message.
    """
    by_proxy = _STATUS_IN_MESSAGE.search(str(error))
    return int(by_proxy[1]) if by_proxy else int(ERROR_CODE_TO_HTTP_STATUS.get(error.error_code, 500))


@contextmanager
def unmapped_requirements() -> Iterator[None]:
    """While this is active, MLflow looks packages up by their names when it checks the requirements of a model.

    Otherwise it first maps each installed package to its modules, which takes 2 seconds in a new process.
    """
    requirements: Any = requirements_utils
    before, requirements._MODULES_TO_PACKAGES = requirements._MODULES_TO_PACKAGES, {}
    try:
        yield
    finally:
        requirements._MODULES_TO_PACKAGES = before


# ---- the store
def search_utils() -> Any:
    """Return MLflow's parser of filters, whose methods have no type annotations."""
    from mlflow.utils.search_utils import SearchUtils

    return SearchUtils


def newest_schema() -> str:
    """Return the revision of the tables of this version of MLflow."""
    from mlflow.store.db import utils

    ask: Callable[[], str] = utils._get_latest_schema_revision
    return ask()


# ---- the server
def server_app() -> "flask.Flask":
    """Return MLflow's Flask app: UI, REST API and host check."""
    import mlflow.server

    app: flask.Flask = mlflow.server.app
    return app


def asgi(app: "flask.Flask") -> Any:
    """Return the app to serve: with uvicorn, MLflow's FastAPI app that wraps the Flask app."""
    if os.environ.get(_MLFLOW_SGI_NAME.name) != "uvicorn":
        return app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(app)


def static_prefix(path: str) -> str:
    """Return a path with the server's ``--static-prefix``."""
    from mlflow.server.handlers import _add_static_prefix

    return str(_add_static_prefix(path))


def backend_store() -> str:
    """Return the URI of the store that this process serves."""
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR

    return os.environ[BACKEND_STORE_URI_ENV_VAR]


def allowed_origins() -> list[str]:
    """Return the origins that the server is configured to accept."""
    from mlflow.server.security import get_allowed_origins

    return list(get_allowed_origins() or ())


# ---- the server's log-in
def user_database() -> str:
    """Return the URI of the database of users."""
    from mlflow.server import auth

    return str(auth.auth_config.database_uri)


def with_log_in(app: "flask.Flask") -> Any:
    """Return the app of ``--app-name basic-auth``, which requires a user name and password for all requests."""
    from mlflow.server import auth

    return auth.create_app(app)


def set_validators(change: Callable[[Validators], Validators]) -> None:
    """Replace the table of allowed requests; requests to other paths are rejected."""
    from mlflow.server import auth

    auth.BEFORE_REQUEST_VALIDATORS = change(auth.BEFORE_REQUEST_VALIDATORS)


def caller_is_known() -> bool:
    """Return whether MLflow has authenticated the user of the current request."""
    import flask

    return flask.has_request_context() and bool(getattr(flask.g, "mlflow_authenticated_user", None))


def readable_experiments(ids: Collection[str]) -> Collection[str]:
    """Return the experiments that the user may read, by MLflow's rule for ``search_runs``."""
    from mlflow.server import auth

    found: Collection[str] = auth.filter_experiment_ids(list(ids))
    return found
