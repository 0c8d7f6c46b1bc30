"""Artifacts behind the server, in a folder or in S3 (moto's server): clients hold neither credentials nor paths."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import mlflow
import pytest
import torch
from mlflow import MlflowClient
from moto.server import ThreadedMotoServer

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.tracking.pull import pull
from tests.mlflow_server import MlflowServer, free_port

pytestmark = pytest.mark.integration
DATASET = "digitsv20-20-0-0"
TRAINED = f"models:/rsc-digits-MLP@{DATASET}"
KEYS = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
Place = tuple[MlflowServer, Callable[[], list[str]]]


@pytest.fixture
def bucket() -> Iterator[tuple[str, Any]]:
    """The address of an S3 server, and a client for it, with an empty bucket ``lab``."""
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    session = boto3.Session(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])
    client = session.client("s3", endpoint_url=address, region_name=KEYS["AWS_DEFAULT_REGION"])
    client.create_bucket(Bucket="lab")
    yield address, client
    server.stop()


@pytest.fixture
def in_s3(bucket: tuple[str, Any], tmp_path: Path) -> Iterator[Place]:
    address, client = bucket
    environment = KEYS | {"MLFLOW_S3_ENDPOINT_URL": address}
    server = MlflowServer(tmp_path, arguments=["--artifacts-destination", "s3://lab/rsc"], environment=environment)
    yield server.start(), lambda: [item["Key"] for item in client.list_objects_v2(Bucket="lab").get("Contents", [])]
    server.stop()
    assert not (tmp_path / "artifacts").exists()


@pytest.fixture
def in_a_folder(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "artifacts"
    server = MlflowServer(tmp_path)
    yield server.start(), lambda: [path.as_posix() for path in folder.rglob("*") if path.is_file()]
    server.stop()


def command(name: str, **options: object) -> None:
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    assert status(entry_point(name), words) == 0


@pytest.mark.parametrize("place", ["in_a_folder", "in_s3"])
def test_train_register_pull_and_unlearn(
    place: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, stored = request.getfixturevalue(place)
    (tmp_path / "client").mkdir()
    monkeypatch.chdir(tmp_path / "client")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    mlflow.set_tracking_uri(server.uri)
    command("train_classifier", dataset=DATASET, model="ce-tor-MLP", epochs=2, checkpoint_every=1)
    source = pull(TRAINED)
    assert len(source.spurious_indices()) == 20
    command("incremental_retraining", model_uri=TRAINED, epochs=3, reference="train")

    client = MlflowClient()
    unlearned = pull(f"{TRAINED}--incremental_retraining")
    assert unlearned.run.data.tags["rsc.source_model_uri"] == source.model_uri
    assert unlearned.run.info.status == "FINISHED"
    assert "gap/test/accuracy" in unlearned.run.data.metrics
    assert any(not torch.equal(source.state_dict[key], unlearned.state_dict[key]) for key in source.state_dict)
    files = [item.path for item in client.list_artifacts(source.run_id, "checkpoints")]
    assert files == ["checkpoints/epoch_0001.pt", "checkpoints/epoch_0002.pt"]
    assert client.get_run(source.run_id).info.artifact_uri.startswith("mlflow-artifacts:/")
    for run_id, name in ((source.run_id, "epoch_0002.pt"), (unlearned.run_id, "spurious_scores.json")):
        assert sum(run_id in key and key.endswith(name) for key in stored()) == 1
    assert sum(key.endswith("data/model.pt2") for key in stored()) == 3  # source, unlearned, exact retraining
    assert list((tmp_path / "client").iterdir()) == []
