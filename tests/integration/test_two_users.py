"""Two users work side by side behind MLflow's own log-in: neither stops or changes what is the other's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.state import close_dead_runs
from rsc_mlflow.sweeps.worker import Context, Unit, run_unit
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import all_experiments, iterate_runs
from rsc_mlflow.tracking.registration import Registrar
from rsc_mlflow.tracking.run import open_run
from rsc_mlflow.tracking.store import StoreError
from tests import mlflow_server
from tests.integration.processes import PATIENT, ROOT
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration
ADMIN = ("admin", "admins-own-password")
NAME = "rsc-digits-MLP"
SMALL = ["--model", "ce-tor-MLP", "--epochs", "1"]
POISONED = ["--dataset", "digitsv20-20-0-0", *SMALL]
SWEEP = """
entry_point: train_classifier
options: {dataset: digits, model: ce-tor-MLP, epochs: 1}
axes: {random_seed: [1, 2]}
"""
PROGRAM = """
import json, sys
from entry_points.command import status
from entry_points.commands import entry_point
print(json.dumps([status(entry_point(name), words) for name, words in json.loads(sys.argv[1])]))
"""


@dataclass(frozen=True)
class LogIn:
    """A server with MLflow's log-in and its ``default_permission``."""

    server: MlflowServer
    default: str

    def admin(self, path: str, **fields: str) -> None:
        address = f"{self.server.uri}/api/{path}"
        requests.post(address, json=fields, auth=ADMIN, timeout=60).raise_for_status()

    def environment(self, user: str, experiment: str | None = None) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": self.server.uri,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": f"{user}s-own-password",
            **({"MLFLOW_EXPERIMENT_NAME": experiment} if experiment else {}),
        }


@pytest.fixture(scope="module", params=["NO_PERMISSIONS", "READ"])
def log_in(
    request: pytest.FixtureRequest, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LogIn]:
    folder = tmp_path_factory.mktemp("log-in")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    settings = mlflow_server.log_in(folder, ADMIN[1], request.param)
    server = MlflowServer(folder, arguments=["--app-name", "rsc-basic-auth"], environment=settings).start()
    made = LogIn(server, request.param)
    for user in ("ann", "ben"):
        made.admin("2.0/mlflow/users/create", username=user, password=f"{user}s-own-password")
    yield made
    server.stop()


@pytest.fixture
def ann_has_trained(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> LogIn:
    """Ann was the first to train with default options: experiment ``rsc`` and the registered model are hers."""
    _become(monkeypatch, log_in, "ann")
    if MlflowClient().get_experiment_by_name("rsc") is None:
        assert status(entry_point("train_classifier"), ["--dataset", "digits", *SMALL]) == 0
    assert _owners(NAME) == {"rsc"}
    return log_in


def _become(monkeypatch: pytest.MonkeyPatch, log_in: LogIn, user: str, experiment: str | None = None) -> None:
    """The rest of the test talks to the server as this user."""
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    for name, value in log_in.environment(user, experiment).items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(log_in.server.uri)


def _runs(experiment: str) -> list[Run]:
    """The runs of an experiment as the current user sees them."""
    client = MlflowClient()
    names = {client.get_experiment(key).name: key for key in all_experiments(client)}
    return list(iterate_runs(client, (), [names[experiment]])) if experiment in names else []


def _owners(name: str) -> set[str]:
    """Experiments of the runs whose models are versions of a registered model, as the current user sees them."""
    client = MlflowClient()
    runs = [client.get_run(version.run_id or "") for version in client.search_model_versions(f"name = '{name}'")]
    return {client.get_experiment(run.info.experiment_id).name for run in runs}


def _refusal(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_default_experiment_of_somebody_else_is_refused_in_one_line(
    ann_has_trained: LogIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _become(monkeypatch, ann_has_trained, "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
    before = len(list(iterate_runs(MlflowClient())))
    _become(monkeypatch, ann_has_trained, "ben")
    capsys.readouterr()
    assert status(entry_point("train_classifier"), ["--dataset", "digits", *SMALL, "--register", "false"]) == 2
    line = _refusal(capsys)
    assert "rsc" in line
    assert "MLFLOW_EXPERIMENT_NAME" in line
    _become(monkeypatch, ann_has_trained, "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
    assert len(list(iterate_runs(MlflowClient()))) == before


def test_register_true_is_refused_before_any_run_and_auto_finishes_unregistered(
    ann_has_trained: LogIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _become(monkeypatch, ann_has_trained, "ben", "bens-first")
    capsys.readouterr()
    for name, words in (
        ("train_classifier", ["--dataset", "digits"]),
        ("mem_inference", ["--dataset", "memdigits", "--shadow_models", "2", "--attacks", "loss"]),
    ):
        assert status(entry_point(name), [*words, *SMALL, "--register", "true"]) == 2
        line = _refusal(capsys)
        assert NAME in line
        assert "RSC_MODEL_PREFIX" in line
    assert _runs("bens-first") == []
    assert status(entry_point("train_classifier"), ["--dataset", "digits", *SMALL]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert f"Models are not registered: this account may not register them as '{NAME}'" in note
    (run,) = _runs("bens-first")
    assert run.info.status == "FINISHED"
    assert note == f"note: {run.data.tags[schema.NOTE]}"
    unlearning = ["--model_uri", f"runs:/{run.info.run_id}/model", "--register", "true"]
    assert status(entry_point("relabel_finetuning"), unlearning) == 2
    assert len(_runs("bens-first")) == 1
    _become(monkeypatch, ann_has_trained, "ann")
    assert _owners(NAME) == {"rsc"}


def test_a_sweep_says_once_at_its_start_that_its_models_may_not_be_registered(
    ann_has_trained: LogIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _become(monkeypatch, ann_has_trained, "ben", "bens-sweep")
    (tmp_path / "grid.yaml").write_text(SWEEP.replace("epochs: 1", "epochs: 1, register: true"))
    capsys.readouterr()
    assert status(entry_point("sweep"), ["--grid", str(tmp_path / "grid.yaml")]) == 2
    assert NAME in _refusal(capsys)
    assert _runs("bens-sweep") == []


def test_with_a_prefix_everybody_registers(ann_has_trained: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    _become(monkeypatch, ann_has_trained, "ben", "bens-own")
    monkeypatch.setenv("RSC_MODEL_PREFIX", "ben-")
    assert status(entry_point("train_classifier"), [*POISONED, "--register", "true"]) == 0
    (run,) = _runs("bens-own")
    assert schema.NOTE not in run.data.tags
    assert MlflowClient().get_model_version_by_alias(f"ben-{NAME}", "digitsv20-20-0-0").run_id == run.info.run_id
    uri = f"models:/ben-{NAME}@digitsv20-20-0-0"
    assert status(entry_point("relabel_finetuning"), ["--model_uri", uri, "--unlearn_epochs", "1"]) == 0
    found = MlflowClient().get_model_version_by_alias(f"ben-{NAME}", "digitsv20-20-0-0--relabel_finetuning")
    assert found.run_id in {run.info.run_id for run in _runs("bens-own")}
    _become(monkeypatch, ann_has_trained, "ann")
    monkeypatch.setenv("RSC_MODEL_PREFIX", "ben-")
    assert Registrar.checked("auto", "digits", "MLP").note


@pytest.mark.parametrize("wanted", ["auto", True])
def test_a_permission_that_is_withdrawn_during_the_run(
    ann_has_trained: LogIn, wanted: bool | str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    family = f"lost{wanted}".lower()
    experiment = f"bens-{family}"
    _become(monkeypatch, ann_has_trained, "ben", experiment)
    registrar = Registrar.checked(wanted, family, "MLP")
    assert registrar.note == ""
    grant = {"username": "ben", "resource_type": "registered_model", "resource_id": f"rsc-{family}-MLP"}
    lost = pytest.raises(StoreError, match=f"may no longer register models as 'rsc-{family}-MLP'")
    with nullcontext() if wanted == "auto" else lost, open_run(kind="train", name="a run") as run:
        model = run.client.create_logged_model(run.experiment_id, "model", run.run_id)
        ann_has_trained.admin("3.0/mlflow/users/permissions/revoke", **grant)
        assert registrar.register(run, f"models:/{model.model_id}", dataset=family, kind="train") is None
    (stored,) = _runs(experiment)
    assert stored.info.status == ("FINISHED" if wanted == "auto" else "FAILED")
    if wanted == "auto":
        assert "may no longer register" in stored.data.tags[schema.NOTE]
        assert "may no longer register" in capsys.readouterr().err


def test_what_may_be_read_but_not_changed_is_left_alone(
    ann_has_trained: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ann's dead run is neither closed nor gone on with, and her model is unlearned without touching it."""
    _become(monkeypatch, ann_has_trained, "ann")
    job = Job("train_classifier", TrainOptions(dataset="digits", model="ce-tor-MLP", epochs=1, random_seed=77))
    tags = {
        schema.KIND: "train",
        schema.FINGERPRINT: job.fingerprint,
        schema.HEARTBEAT: "1",
        schema.HOST: "another machine",
    }
    client = MlflowClient()
    dead = client.create_run(client.get_experiment_by_name("rsc").experiment_id, tags=tags).info.run_id
    assert status(entry_point("train_classifier"), POISONED) == 0
    poisoned = client.get_model_version_by_alias(NAME, "digitsv20-20-0-0").run_id
    _become(monkeypatch, ann_has_trained, "ben", "bens-own-runs")
    mine = MlflowClient()
    experiment = mine.create_experiment("bens-own-runs")
    assert close_dead_runs(mine) == []
    context = Context(ann_has_trained.server.uri, experiment, "no parent", "a sweep", 1)
    (outcome,) = run_unit(Unit((job.spec(),), context))
    assert outcome.state == "finished"
    assert outcome.run_id != dead
    uri = f"runs:/{poisoned}/model"
    unlearned = status(entry_point("relabel_finetuning"), ["--model_uri", uri, "--unlearn_epochs", "1"])
    if ann_has_trained.default == "READ":
        assert unlearned == 0
        (run,) = (one for one in _runs("bens-own-runs") if one.data.tags[schema.KIND] == "unlearn")
        assert run.data.tags[schema.SOURCE_RUN_ID] == poisoned
    else:
        assert unlearned == 2
    _become(monkeypatch, ann_has_trained, "ann")
    left = client.get_run(dead)
    assert (left.info.status, left.data.tags) == ("RUNNING", left.data.tags | tags)
    client.set_terminated(dead, "KILLED")


def test_two_users_train_unlearn_attack_and_sweep_side_by_side(
    ann_has_trained: LogIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commands where neither sees the other's runs; where both see them, those that look for runs to go on with."""
    alike = ann_has_trained.default == "NO_PERMISSIONS"  # with READ, one could refuse the other's sweep
    (tmp_path / "ann.yaml").write_text(SWEEP)
    (tmp_path / "ben.yaml").write_text(SWEEP if alike else SWEEP.replace("[1, 2]", "[3, 4]"))
    attack = ["--dataset", "memdigits", *SMALL, "--shadow_models", "2", "--attacks", "loss,shadow"]
    commands = [
        ("train_classifier", POISONED),
        ("relabel_finetuning", [*POISONED, "--unlearn_epochs", "1", "--reference", "train"]),
        ("mem_inference", attack),
        ("sweep", ["--grid", "{user}.yaml", "--workers", "1"]),
    ]
    if not alike:
        commands = [commands[0], commands[-1]]
    users = ("ann", "ben")
    processes = [_start(ann_has_trained, user, commands, tmp_path) for user in users]
    try:
        for process in processes:
            output, errors = process.communicate(timeout=4 * PATIENT)  # four commands
            assert process.returncode == 0, errors
            assert json.loads(output.splitlines()[-1]) == [0] * len(commands), errors
    finally:
        for process in processes:
            process.kill()
    ids = {}
    for user in users:
        _become(monkeypatch, ann_has_trained, user)
        runs = _runs(f"{user}-together")
        assert {run.info.status for run in runs} == {"FINISHED"}
        kinds = {(run.data.tags[schema.KIND], run.data.tags.get(schema.METHOD)) for run in runs}
        assert {kind for kind, _ in kinds} == {"train", "sweep", *(("unlearn", "attack") if alike else ())}
        ids[user] = {run.info.run_id for run in runs}
        if alike:  # what the other has made counts for nothing
            assert len(runs) == 9  # 1 + 2 + target, shadow models, attack + sweep and its 2 jobs
            client = MlflowClient()
            names = {client.get_experiment(key).name for key in all_experiments(client)}
            assert not {name for name in names if name.startswith({"ann": "ben", "ben": "ann"}[user])}
    _become(monkeypatch, ann_has_trained, "ann")
    assert _owners(NAME) == {"rsc", "ann-together"}
    last = "memdigits" if alike else "digits"
    assert MlflowClient().get_model_version_by_alias(NAME, last).run_id in ids["ann"]


def _start(log_in: LogIn, user: str, commands: list[tuple[str, list[str]]], folder: Path) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "RSC_MODEL"))}
    clean |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    clean |= log_in.environment(user, f"{user}-together")
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands).replace("{user}", user)]
    return subprocess.Popen(command, env=clean, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
