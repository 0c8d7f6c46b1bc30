"""MLflow's server with the dashboards and 400 made-up runs, one for all tests that look at it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.filling import fill_store
from tests.mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def dashboards_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("dashboards")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = MlflowServer(folder, arguments=["--app-name", "rsc"])
    fill_store(server.backend, 400, artifacts=(folder / "files").as_uri())
    server.start()
    yield server
    server.stop()
