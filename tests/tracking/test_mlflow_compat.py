"""MLflow's internals are used in ``mlflow_compat.py`` alone, and are what that module takes them for."""

import ast
import logging
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import flask
import importlib_metadata
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service import utils as tracking_utils
from mlflow.utils import requirements_utils

from rsc_mlflow.tracking import mlflow_compat
from tests.mlflow_server import MlflowServer

ROOT = Path(__file__).parents[2]
INTERNAL = re.compile(r"mlflow\.(utils|server|store|protos|tracking\.(context|fluent))\b|mlflow(\.\w+)*\._(?!_)")
ALLOWED = {"rsc_mlflow/tracking/mlflow_compat.py"}
"""``rsc_mlflow/sweeps/fork_server_imports.py`` names modules to import early, as texts: one that is gone is skipped."""


def _imported(tree: ast.AST) -> Iterator[str]:
    """Everything that a module imports of MLflow, as dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("mlflow."):
            yield ast.unparse(node)


def _internals(source: str) -> list[str]:
    return [name for name in _imported(ast.parse(source)) if INTERNAL.match(name)]


FILES = [path for part in ("rsc_mlflow", "entry_points", "dashboards") for path in sorted((ROOT / part).rglob("*.py"))]


def test_no_other_module_uses_internals() -> None:
    found = {str(path.relative_to(ROOT)) for path in FILES if _internals(path.read_text(encoding="utf-8"))}
    assert found == ALLOWED


@pytest.mark.parametrize(
    "line",
    [
        "from mlflow.utils.search_utils import SearchUtils",
        "import mlflow.server",
        "from mlflow.store.db import utils",
        "import mlflow\nmlflow.tracking._model_registry",
        "from mlflow.environment_variables import _MLFLOW_SGI_NAME",
        "def f():\n    from mlflow.server import auth",
    ],
)
def test_what_counts_as_internal(line: str) -> None:
    assert _internals(line)
    assert not _internals("from mlflow import MlflowClient\nfrom mlflow.entities import Run\nimport mlflow.pytorch")


def test_context_tags_name_user_and_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"a.tag": "x"}')
    assert {"mlflow.user", "mlflow.source.name", "a.tag"} <= set(mlflow_compat.context_tags())


def test_names_of_tags() -> None:
    names = (mlflow_compat.DATASET_CONTEXT, mlflow_compat.GIT_COMMIT, mlflow_compat.GIT_DIRTY)
    assert names == ("mlflow.data.context", "mlflow.source.git.commit", "mlflow.source.git.dirty")


def test_credentials_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    creds = mlflow_compat.host_creds("http://127.0.0.1:1")
    assert (creds.host, creds.username) == ("http://127.0.0.1:1", "ann")


@pytest.mark.integration
def test_a_post_and_its_refusals(mlflow_server: MlflowServer) -> None:
    path, fields = "/api/2.0/mlflow/experiments/create", {"name": "by post"}
    made = mlflow_compat.post(mlflow_server.uri, path, fields)
    assert (made.status_code, set(made.json())) == (200, {"experiment_id"})
    assert (
        mlflow_compat.post(mlflow_server.uri, "/api/2.0/mlflow/experiments/create", {"name": "by post"}).status_code
        == 400
    )
    client = MlflowClient(f"{mlflow_server.uri}/elsewhere")
    with pytest.raises(MlflowException) as caught:
        client.search_experiments()
    assert mlflow_compat.http_status(caught.value) == 404  # the server's own words, no error of MLflow's


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MlflowException("x", PERMISSION_DENIED), 403),
        (MlflowException("x", RESOURCE_DOES_NOT_EXIST), 404),
        (MlflowException("x"), 500),
        (MlflowException("API request to endpoint /x failed with error code 413 != 200. Response body: ''"), 413),
    ],
)
def test_status_of_an_error(error: MlflowException, status: int) -> None:
    assert mlflow_compat.http_status(error) == status


def test_the_client_does_not_ask_for_a_remembered_artifact_folder(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_compat, "_REMEMBERED", 2)
    monkeypatch.setattr(tracking_utils, "_artifact_repos_cache", OrderedDict())
    asked: list[str] = []
    get_run: Callable[[SqlAlchemyStore, str], Run] = SqlAlchemyStore.get_run

    def counted(store: SqlAlchemyStore, run_id: str) -> Run:
        asked.append(run_id)
        return get_run(store, run_id)

    monkeypatch.setattr(SqlAlchemyStore, "get_run", counted)
    client = MlflowClient()
    runs = [client.create_run("0") for _ in range(3)]
    for run in runs:
        mlflow_compat.remember_artifact_folder(client, run.info.run_id, run.info.artifact_uri)
    for run in reversed(runs):  # the first one is forgotten, because there are more than two
        client.log_text(run.info.run_id, run.info.run_id, "own.txt")
    assert asked == [runs[0].info.run_id]
    for run in runs:
        assert (Path(run.info.artifact_uri) / "own.txt").read_text() == run.info.run_id


def test_requirements_are_checked_without_a_map_of_all_packages(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def scan() -> None:
        raise AssertionError("the file lists of all packages are read")

    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    monkeypatch.setattr(importlib_metadata, "packages_distributions", scan)
    monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
    with mlflow_compat.unmapped_requirements():
        requirements_utils.warn_dependency_requirement_mismatches([f"numpy=={np.__version__}", "torch==0.1"])
    assert requirements_utils._MODULES_TO_PACKAGES is None
    (warning,) = {record.getMessage() for record in caplog.records}
    assert f"torch (current: {torch.__version__.split('+')[0]}" in warning
    assert "numpy" not in warning


def test_filters_are_parsed() -> None:
    (found,) = mlflow_compat.search_utils().parse_search_filter("params.`a b` = '1'")
    assert (found["type"], found["key"], found["comparator"], found["value"]) == ("parameter", "a b", "=", "1")


def test_the_newest_schema_is_that_of_a_new_store(empty_store: Path) -> None:
    with sqlite3.connect(empty_store) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (
            mlflow_compat.newest_schema(),
        )


def test_the_servers_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a started server does with them is tested in ``tests/integration/test_dashboards_server.py``."""
    app = mlflow_compat.server_app()
    assert isinstance(app, flask.Flask)
    assert app.url_map
    monkeypatch.delenv("_MLFLOW_SGI_NAME", raising=False)
    assert mlflow_compat.asgi(app) is app
    monkeypatch.setenv("_MLFLOW_SGI_NAME", "uvicorn")
    assert type(mlflow_compat.asgi(app)).__name__ == "FastAPI"
    monkeypatch.setenv("_MLFLOW_STATIC_PREFIX", "/lab")
    assert mlflow_compat.static_prefix("/x/") == "/lab/x/"
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", "sqlite:///x.db")
    assert mlflow_compat.backend_store() == "sqlite:///x.db"
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "https://a.example,https://b.example")
    assert mlflow_compat.allowed_origins() == ["https://a.example", "https://b.example"]


def test_the_callers_name_is_read_from_the_request() -> None:
    assert not mlflow_compat.caller_is_known()
    with flask.Flask("x").test_request_context():
        assert not mlflow_compat.caller_is_known()
        flask.g.mlflow_authenticated_user = "ann"
        assert mlflow_compat.caller_is_known()
