"""PostgreSQL as the store: the same results as on SQLite, a restart in mid-training, back-up and restore."""

import os
import shutil
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import pandas as pd
import pytest
import requests
import torch
from mlflow import MlflowClient

from dashboards.data import Filters
from dashboards.figures.style import LIGHT
from dashboards.pages import PAGES
from dashboards.panels import panels
from dashboards.repository import RunRepository
from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.frame import RunStore
from rsc_mlflow.tracking.pull import pull
from tests.integration.processes import aliases, finish, finished_run, logged_epochs, newest_run, start, wait_for
from tests.mlflow_server import MlflowServer
from tests.postgres import PostgresCluster

pytestmark = pytest.mark.integration
DATASET = "digitsv20-20-0-0"
MODEL_URI = f"models:/rsc-digits-MLP@{DATASET}"
PATH: tuple[tuple[str, dict[str, str]], ...] = (
    ("train_classifier", {"dataset": "digits"}),
    ("train_classifier", {"dataset": DATASET}),
    ("exact_retraining", {"model_uri": MODEL_URI}),
    ("relabel_finetuning", {"model_uri": MODEL_URI}),
    ("group_influence", {"model_uri": MODEL_URI, "curvature_examples": "200", "max_iterations": "20"}),
    ("score_model", {"model_uri": f"{MODEL_URI}--relabel_finetuning", "dataset": "digitsv8-0-1-0"}),
    ("mem_inference", {"dataset": "memdigitsv20-5-0-0", "shadow_models": "4"}),
)
TRAINING = {"model": "ce-tor-MLP", "epochs": "2", "optimizer": "adam", "momentum": "0"}


def walk(uri: str) -> pd.DataFrame:
    """Train, unlearn, score and attack on a store; a row a run, by its name."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    mlflow.set_tracking_uri(uri)
    for name, options in PATH:
        training = TRAINING if name in ("train_classifier", "mem_inference") else {}
        words = [word for key, value in (options | training).items() for word in (f"--{key}", value)]
        assert status(entry_point(name), words) == 0, name
    store = RunStore(uri)
    snapshot = store.refresh()
    assert snapshot.error is None
    frame = snapshot.frame.sort_values("run_name").set_index("run_name")
    assert set(frame["status"]) == {"FINISHED"}
    draw_every_page(store)
    return frame


def draw_every_page(store: RunStore) -> None:
    repository = RunRepository(store, Details(lambda: store.client))
    visible = repository.snapshot(timeout=60)
    for page in PAGES:
        for panel in panels(page, repository.view(visible, Filters(), LIGHT)):
            assert "could not be drawn" not in (panel.message or ""), f"{page.path}: {panel.key}"


def test_train_unlearn_attack_and_dashboards_give_on_postgresql_what_they_give_on_sqlite(
    sqlite_store: str, postgres: PostgresCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = walk(sqlite_store)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    two = walk(postgres.database(f"test_{uuid4().hex[:12]}", template="empty"))
    assert list(one.index) == list(two.index)
    assert one.index.is_unique
    assert len(one) == len(PATH) + 2  # mem_inference trains a target and, in one run, its shadow models
    timed = ("metrics.cost/", "metrics.unlearn/seconds", "metrics.unlearn/speedup")
    results = [column for column in map(str, one) if column.startswith("metrics.") and not column.startswith(timed)]
    pd.testing.assert_frame_equal(one[results], two[results], check_exact=True)
    params = [column for column in map(str, one) if column.startswith("params.")]
    pd.testing.assert_frame_equal(one[params], two[params])


def test_restarted_in_mid_training_then_dumped_and_restored(postgres: PostgresCluster, tmp_path: Path) -> None:
    name = f"lab_{uuid4().hex[:12]}"
    (tmp_path / "lab").mkdir()
    lab = MlflowServer(tmp_path / "lab", backend=postgres.database(name, template="empty")).start()
    try:
        run_id = train_through_a_restart(postgres, lab)
        weights = pulled(lab.uri, run_id)
        postgres.client_program("pg_dump", name, "--format=custom", f"--file={tmp_path / 'lab.dump'}")
    finally:
        lab.stop()

    copy = f"copy_{uuid4().hex[:12]}"
    (tmp_path / "copy").mkdir()
    backend = postgres.database(copy)
    postgres.client_program("pg_restore", copy, "--exit-on-error", "--no-owner", str(tmp_path / "lab.dump"))
    shutil.move(tmp_path / "lab" / "artifacts", tmp_path / "copy" / "artifacts")
    restored = MlflowServer(tmp_path / "copy", backend=backend).start()
    try:
        client = MlflowClient(restored.uri)
        run = newest_run(client)
        assert run is not None
        assert run.info.run_id == run_id
        assert logged_epochs(client, run_id, "train/loss") == list(range(1, 61))
        (version,) = client.search_model_versions("name = 'rsc-digits-MLP'")
        assert aliases(client) == {DATASET: int(version.version)}
        again = pulled(restored.uri, run_id)
        assert weights.keys() == again.keys()
        assert all(torch.equal(weights[key], again[key]) for key in weights)
    finally:
        restored.stop()


def train_through_a_restart(postgres: PostgresCluster, lab: MlflowServer) -> str:
    """Train over HTTP while the database is shut down at once and started again; returns the finished run's id."""
    client = MlflowClient(lab.uri)
    process = start("train_classifier", lab.uri, dataset=DATASET, model="ce-tor-MLP", epochs=60, checkpoint_every=5)
    wait_for("checkpoint", lambda: has_checkpoint(client), process)
    assert process.poll() is None
    postgres.kill()
    time.sleep(3)
    postgres.start()
    return str(finished_run(process, client, 60).info.run_id)


def has_checkpoint(client: MlflowClient) -> bool:
    run = newest_run(client)
    return run is not None and bool(client.list_artifacts(run.info.run_id, "checkpoints"))


def pulled(uri: str, run_id: str) -> dict[str, torch.Tensor]:
    mlflow.set_tracking_uri(uri)
    model = pull(MODEL_URI)
    assert model.run_id == run_id
    assert len(model.spurious_indices()) == 20
    return model.state_dict


def test_a_teams_server_with_its_log_in_in_postgresql(postgres: PostgresCluster, tmp_path: Path) -> None:
    """As docs/operations.md sets it up: several workers, users in a database of their own, one allowed host."""
    name = f"team_{uuid4().hex[:12]}"
    (tmp_path / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {postgres.database(f'{name}_auth')}\n"
        "admin_username = admin\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    admin, bob = ("admin", "admins-own-password"), ("bob", "bobs-own-password")
    secrets = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "made by a test", "MLFLOW_AUTH_ADMIN_PASSWORD": admin[1]}
    hosts = "mlflow.lab.example,127.0.0.1:*"
    server = MlflowServer(
        tmp_path,
        backend=postgres.database(name, template="empty"),
        arguments=["--app-name", "rsc-basic-auth", "--workers", "2", "--allowed-hosts", hosts],
        environment=secrets | {"MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini")},
    ).start()
    try:
        assert server.loaded("uvloop") >= 2  # else each answer of several workers takes 40 ms longer
        user = {"username": bob[0], "password": bob[1]}
        made = requests.post(f"{server.uri}/api/2.0/mlflow/users/create", json=user, auth=admin, timeout=30)
        made.raise_for_status()
        options: dict[str, Any] = {"dataset": "digits", "model": "ce-tor-MLP", "epochs": 1}
        words = {"MLFLOW_TRACKING_USERNAME": bob[0], "MLFLOW_TRACKING_PASSWORD": bob[1]}
        ended, errors = finish(start("train_classifier", server.uri, environment=words, **options))
        assert ended == 0, errors

        def rows(caller: tuple[str, str], **headers: str) -> requests.Response:
            address = f"{server.uri}/dashboards/data/overview/newest.csv"
            return requests.get(address, auth=caller, headers=headers, timeout=60)

        wait_for("bob's run on the dashboards", lambda: len(rows(bob).text.splitlines()) == 2)
        for _ in range(4):  # whichever worker answers
            assert rows(bob, Host="mlflow.lab.example").status_code == 200
            assert rows(bob, Host="evil.example").status_code == 403
            assert rows((bob[0], "wrong")).status_code == 401
        eve = {"username": "eve", "password": "eves-own-password"}
        requests.post(f"{server.uri}/api/2.0/mlflow/users/create", json=eve, auth=admin, timeout=30).raise_for_status()
        stranger = ("eve", eve["password"])
        assert requests.get(f"{server.uri}/dashboards/", auth=stranger, timeout=60).status_code == 200
        assert rows(stranger).status_code == 404  # the pages, and no rows to download
    finally:
        server.stop()
