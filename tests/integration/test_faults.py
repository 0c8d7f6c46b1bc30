"""What real training processes do when something is taken away: the server, or room on the disk."""

import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.training import Checkpoint
from tests.integration.processes import aliases, finish, finished_run, newest_run, start, wait_for
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration
DATASET = "digitsv20-3-0-0"
ALIAS = f"models:/rsc-digits-MLP@{DATASET}"


def checkpoints(client: MlflowClient) -> list[str]:
    run = newest_run(client)
    return [] if run is None else [item.path for item in client.list_artifacts(run.info.run_id, schema.CHECKPOINTS)]


def test_a_server_that_is_away_for_twenty_seconds(own_server: MlflowServer) -> None:
    client = MlflowClient(own_server.uri)
    process = start("train_classifier", own_server.uri, dataset=DATASET, model="ce-tor-MLP", epochs=150)
    wait_for("checkpoint", lambda: bool(checkpoints(client)), process)
    assert process.poll() is None
    own_server.kill()
    time.sleep(20)
    own_server.start()
    finished_run(process, client, 150)
    (version,) = client.search_model_versions("name = 'rsc-digits-MLP'")
    assert aliases(client) == {DATASET: int(version.version)}


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(sqlite_store: str, small_disk: Path) -> None:
    """8 MB hold the first checkpoints of 2.7 MB each; then the artifact folder is full."""
    client = MlflowClient(sqlite_store)
    client.create_experiment("small", artifact_location=small_disk.as_uri())
    environment = {"MLFLOW_EXPERIMENT_NAME": "small", "RSC_RETRY_TIMEOUT_SECONDS": "2"}
    options: dict[str, Any] = {"dataset": DATASET, "epochs": 40, "checkpoint_every": 1, "score_every": 0}
    options["keep_checkpoints"] = "all"
    exit_status, errors = finish(start("train_classifier", sqlite_store, environment=environment, **options))
    assert exit_status == 1, errors
    run = newest_run(client)
    assert run is not None
    assert run.info.status == "FAILED"
    assert "No space left on device" in run.data.tags[schema.ERROR]
    assert client.search_registered_models() == []
    folder = small_disk / run.info.run_id / "artifacts"
    whole = sorted(checkpoints(client))[:-1] or checkpoints(client)  # the last may be the one that was cut short
    assert [Checkpoint.load(folder / path).epoch for path in whole] == list(range(1, len(whole) + 1))
