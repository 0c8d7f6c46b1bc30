"""What all tests share: an MLflow that leaks nothing from one test into the next, real stores and a real server."""

import logging
import math
import os
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

import rsc_mlflow
from tests.mlflow_server import MlflowServer

for package in (rsc_mlflow.__name__, "dashboards"):
    logging.getLogger(package).propagate = True  # so that pytest's caplog sees the records
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray lowers the priority of its workers, which starve beside tests
if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the cores: PyTorch's threads would fight for them
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so begins what a shell starts in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)
_MINE = ("MLFLOW_", "RSC_PATIENCE", "RSC_RETRY", "RSC_MODEL_PREFIX")


NO_SKIPS = bool(os.environ.get("RSC_NO_SKIPS"))
_NO_DATA = not os.environ.get("RSC_DATA_ROOT")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``RSC_NO_SKIPS`` a skipped test has failed, except for real datasets that nobody gave, and for a GPU."""
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not ((_NO_DATA and "RSC_DATA_ROOT names no folder" in reason) or reason.endswith("needs a CUDA device")):
            report.outcome, report.longrepr = "failed", f"RSC_NO_SKIPS is set, and this was skipped: {reason}"
    return report


@pytest.fixture(autouse=True)
def mlflow_leaks_nothing() -> Iterator[None]:
    """Ends runs that a test left open, and puts MLflow's environment variables and store addresses back.

    That a store was away in one test says nothing about the next one's.
    """
    before = {key: value for key, value in os.environ.items() if key.startswith(_MINE)}
    yield
    if "mlflow" in sys.modules:
        import mlflow

        while mlflow.active_run():
            mlflow.end_run("KILLED")
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
        mlflow.tracking.fluent._active_experiment_id = None
    if "rsc_mlflow.tracking.tracked" in sys.modules:
        from rsc_mlflow.tracking import store, tracked

        store._have_answered.clear()
        tracked._unheard_at = -math.inf
    if "rsc_mlflow.tracking.registration" in sys.modules:
        from rsc_mlflow.tracking import registration

        registration._printed.clear()
    for key in [key for key in os.environ if key.startswith(_MINE)]:
        del os.environ[key]
    os.environ.update(before)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables and nothing in them: making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    from rsc_mlflow.tracking.store import configure

    before = dict(os.environ)
    configure()
    folder = tmp_path_factory.mktemp("empty-store")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    for key in set(os.environ) - set(before):
        del os.environ[key]
    return folder / "mlflow.db"


@pytest.fixture
def sqlite_store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The current tracking store is a fresh SQLite file in ``tmp_path``, which is also the working folder."""
    import mlflow

    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return uri


@pytest.fixture(scope="session")
def mlflow_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for all tests that only talk to it; do not stop it, and use experiments of your own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = MlflowServer(folder).start()
    yield server
    server.stop()


@pytest.fixture
def own_server(empty_store: Path, tmp_path: Path) -> Iterator[MlflowServer]:
    """A server of this test alone, started, which it may kill and start again."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = MlflowServer(folder).start()
    yield server
    server.stop()


@pytest.fixture
def server_store(mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The current tracking store is the shared server; runs go to an experiment named after the test."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    mlflow.set_tracking_uri(mlflow_server.uri)
    return mlflow_server.uri
