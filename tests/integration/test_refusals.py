"""What a server with MLflow's log-in refuses ends every command with one line and status 2."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from requests.auth import HTTPBasicAuth

from entry_points.command import status
from entry_points.commands import entry_point, programs
from rsc_mlflow.tracking import schema
from tests import mlflow_server
from tests.mlflow_server import MlflowServer

PROGRAMS = programs(generic=False)

pytestmark = pytest.mark.integration
ADMIN, BOB = HTTPBasicAuth("admin", "admins-own-password"), HTTPBasicAuth("bob", "bobs-own-password")
OPTIONS = {
    "dataset": "digitsv20-3-0-0",
    "model_uri": "models:/m-0",
    "model": "ce-tor-MLP",
    "epochs": "1",
    "seeds": "2",
    "n_train": "100",
    "n_test": "100",
    "gammas": "0.5",
    "grid": "grid.yaml",
}


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("refusing")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    settings = mlflow_server.log_in(folder, str(ADMIN.password))
    server = MlflowServer(folder, arguments=["--app-name", "rsc-basic-auth"], environment=settings).start()
    user = {"username": BOB.username, "password": BOB.password}
    requests.post(f"{server.uri}/api/2.0/mlflow/users/create", json=user, auth=ADMIN, timeout=30).raise_for_status()
    yield server
    server.stop()


@pytest.fixture
def admins(server: MlflowServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MlflowClient:
    """The administrator's view of the server, which is the current tracking store; nobody is logged in."""
    monkeypatch.chdir(tmp_path)
    text = "{entry_point: train_classifier, options: {model: ce-tor-MLP, epochs: 1}, axes: {dataset: [digits]}}"
    (tmp_path / "grid.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    mlflow.set_tracking_uri(server.uri)
    return MlflowClient(server.backend)  # past the log-in


def log_in(monkeypatch: pytest.MonkeyPatch, user: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "86400")  # nobody waits for a store that said no


def arguments(name: str) -> list[str]:
    known = {option.name for option in entry_point(name).params}
    given = {key: value for key, value in OPTIONS.items() if key in known}
    if name == "mem_inference":
        given |= {"dataset": "memdigitsv20-3-0-0", "model_uri": "auto", "shadow_models": "2", "attacks": "loss"}
    if name == "sweep":
        given |= {"workers": "1"}
    return [word for key, value in given.items() for word in (f"--{key}", value)]


def the_line(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert status(entry_point(name), arguments(name)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert not [line for line in lines if "Traceback" in line]
    (line,) = [line for line in lines if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_a_log_in(name: str, admins: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    line = the_line(name, capsys)
    assert "refused the log-in" in line
    for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        assert variable in line
    assert "does not answer" not in line


def test_with_a_wrong_password_after_the_server_has_answered(
    admins: MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, "admin", str(ADMIN.password))
    assert status(entry_point("report"), []) == 0
    log_in(monkeypatch, "bob", "another password")
    assert "refused the log-in" in the_line("report", capsys)


@pytest.mark.parametrize("name", ["main", "train_classifier", "mem_inference", "theory", "sweep", "report"])
def test_in_an_experiment_that_one_may_only_read(
    name: str, admins: MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, "bob", str(BOB.password))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    line = the_line(name, capsys)
    assert line.startswith("error: Cannot create a run in experiment '0' (")
    assert "Set MLFLOW_EXPERIMENT_NAME to an experiment of your own, or ask the owner" in line
    assert "Permission denied" in line
    assert [run for run in admins.search_runs(["0"]) if run.data.tags.get(schema.KIND) != "report"] == []


def test_a_run_that_one_may_only_read_is_not_taken(
    admins: MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, "bob", str(BOB.password))
    run_id = admins.create_run("0", run_name="the administrator's").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    before = admins.get_run(run_id).to_dictionary()
    assert "does not permit this" in the_line("theory", capsys)
    assert admins.get_run(run_id).to_dictionary() == before
    admins.delete_run(run_id)


def test_a_deleted_run(
    admins: MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, "admin", str(ADMIN.password))
    run_id = admins.create_run("0").info.run_id
    admins.delete_run(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert "was deleted" in the_line("theory", capsys)
