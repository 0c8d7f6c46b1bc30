"""PostgreSQL and a server with the dashboards for the integration tests, and a small disk that fills up."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.filling import fill_store
from tests.mlflow_server import MlflowServer
from tests.postgres import PostgresCluster, find_program


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """One cluster for all tests, with MLflow's empty tables in database ``empty``."""
    if find_program("initdb") is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    from mlflow import MlflowClient

    from rsc_mlflow.tracking.store import configure

    cluster = PostgresCluster()
    before = dict(os.environ)
    try:
        cluster.create()
        configure()
        client = MlflowClient(cluster.database("empty"))
        client.search_experiments()
        client._tracking_client.store.engine.dispose()  # a template must have no connections
        for key in set(os.environ) - set(before):
            del os.environ[key]
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def postgres_store(postgres: PostgresCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The current tracking store is a fresh database; the working folder is ``tmp_path``."""
    import mlflow

    uri = postgres.database(f"test_{uuid4().hex[:12]}", template="empty")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return uri


@pytest.fixture(scope="session")
def dashboards_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """MLflow's server with the dashboards and 400 made-up runs, one for all tests that look at it."""
    folder = tmp_path_factory.mktemp("dashboards")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = MlflowServer(folder, arguments=["--app-name", "rsc"])
    fill_store(server.backend, 400, artifacts=(folder / "files").as_uri())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB in memory."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (it takes root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
