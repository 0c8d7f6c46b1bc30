"""What real training processes do when something is taken away: the server, the disk, the clock, the whole file."""

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow import tempdirs
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.frame import RunStore
from rsc_mlflow.training import Checkpoint
from tests.integration.processes import aliases, finish, finished_run, logged_epochs, newest_run, start, wait_for
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
    gone = time.time()
    time.sleep(20)
    back = time.time()
    own_server.start()
    run = finished_run(process, client, 150)
    logged = [point.timestamp / 1000 for point in client.get_metric_history(run.info.run_id, schema.TRAIN_LOSS)]
    assert any(gone + 1 < when < back for when in logged)  # training went on meanwhile
    (version,) = client.search_model_versions("name = 'rsc-digits-MLP'")
    assert aliases(client) == {DATASET: int(version.version)}


@pytest.mark.parametrize("full", ["artifacts", "temporary"])
def test_a_disk_that_fills_up_while_a_checkpoint_is_written(
    full: str, sqlite_store: str, small_disk: Path, tmp_path: Path
) -> None:
    """8 MB hold the first checkpoints of 2.7 MB each; then the artifact folder or that for temporary files is full."""
    client = MlflowClient(sqlite_store)
    artifacts = small_disk if full == "artifacts" else tmp_path / "artifacts"
    client.create_experiment("small", artifact_location=artifacts.as_uri())
    environment = {"MLFLOW_EXPERIMENT_NAME": "small", "RSC_RETRY_TIMEOUT_SECONDS": "2"}
    environment |= {"TMPDIR": str(small_disk)} if full == "temporary" else {}
    options: dict[str, Any] = {"dataset": DATASET, "epochs": 40, "checkpoint_every": 1, "score_every": 0}
    options["keep_checkpoints"] = "all"
    process = start("train_classifier", sqlite_store, environment=environment, **options)
    wait_for("checkpoint", lambda: bool(checkpoints(client)), process)
    while full == "temporary" and process.poll() is None:
        fill(small_disk / "ballast")
    exit_status, errors = finish(process)
    assert exit_status == 1, errors
    run = newest_run(client)
    assert run is not None
    assert run.info.status == "FAILED"
    assert "No space left on device" in run.data.tags[schema.ERROR]
    assert client.search_registered_models() == []
    folder = artifacts / run.info.run_id / "artifacts"
    whole = sorted(checkpoints(client))[:-1] or checkpoints(client)  # the last may be the one that was cut short
    assert [Checkpoint.load(folder / path).epoch for path in whole] == list(range(1, len(whole) + 1))


def test_a_full_temporary_folder_is_named(
    sqlite_store: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    monkeypatch.setattr(tempdirs, "_leases", {})
    fill(small_disk / "ballast")
    words = ["--dataset", "digits", "--model", "ce-tor-MLP", "--epochs", "1"]
    assert status(entry_point("train_classifier"), words) == 2
    assert "No space left on device" in (said := capsys.readouterr().err)
    assert f"{small_disk}, chosen by TMPDIR" in said
    run = newest_run(MlflowClient(sqlite_store))
    assert run is not None
    assert "No space left on device" in run.data.tags[schema.ERROR]


def fill(ballast: Path) -> None:
    """Take whatever room is left on the disk of this file."""
    with ballast.open("ab", buffering=0) as file:
        for size in (2**16, 2**12):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                time.sleep(0.02)


CLOCK = """
import os, time
real, real_ns = time.time, time.time_ns
back = lambda: 3600 if os.path.exists({flag!r}) else 0
time.time = lambda: real() - back()
time.time_ns = lambda: real_ns() - back() * 10**9
"""
"""Once a file is there, the wall clock of everything Python in the process is an hour behind."""


def test_a_clock_that_jumps_back_an_hour(sqlite_store: str, tmp_path: Path) -> None:
    """Steps, not time stamps, order a run's points, and a run may end before it began."""
    client, store, flag = MlflowClient(sqlite_store), RunStore(sqlite_store), tmp_path / "back"
    process = start(
        "train_classifier",
        sqlite_store,
        before=CLOCK.format(flag=str(flag)),
        dataset=DATASET,
        model="ce-tor-MLP",
        epochs=60,
        checkpoint_every=2,
    )
    wait_for("checkpoint", lambda: bool(checkpoints(client)), process)
    assert list(store.refresh().frame["status"]) == ["RUNNING"]
    flag.touch()
    exit_status, errors = finish(process)
    assert exit_status == 0, errors
    run = newest_run(client)
    assert run is not None
    assert run.info.status == "FINISHED"
    assert run.info.end_time < run.info.start_time
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted(point.step for point in points) == list(range(1, 61))
    last = max(points, key=lambda point: point.step)
    assert last.timestamp < min(points, key=lambda point: point.step).timestamp
    assert run.data.metrics["train/loss"] == last.value
    (row,) = store.refresh().frame.to_dict("records")
    assert row["status"] == "FINISHED"
    assert row["metrics.train/loss"] == last.value


MEETING = """
import os, pathlib, time
import rsc_mlflow.tracking.models as models
register = models._ensure_version
def together(*arguments):
    pathlib.Path({folder!r}, str(os.getpid())).touch()
    while len(os.listdir({folder!r})) < 2:
        time.sleep(0.001)
    return register(*arguments)
models._ensure_version = together
"""
"""Two processes wait for each other just before they register their models."""


@pytest.mark.parametrize("store", ["sqlite_store", "postgres_store", "server_store"])
def test_two_runs_that_register_the_same_alias_at_the_same_time(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    uri = request.getfixturevalue(store)
    (tmp_path / "meeting").mkdir()
    before = MEETING.format(folder=str(tmp_path / "meeting"))
    options: dict[str, Any] = {
        "dataset": DATASET,
        "model": "ce-tor-MLPv2",
        "epochs": 1,
    }  # nobody else's on the shared server
    processes = [start("train_classifier", uri, before=before, random_seed=seed, **options) for seed in (0, 1)]
    for process in processes:
        exit_status, errors = finish(process)
        assert exit_status == 0, errors
    client = MlflowClient(uri)
    versions = client.search_model_versions("name = 'rsc-digits-MLPv2'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    assert len({version.run_id for version in versions}) == 2
    assert aliases(client, "rsc-digits-MLPv2") == {DATASET: 2}


@pytest.fixture
def trained(sqlite_store: str) -> Run:
    """A finished run of three epochs, a checkpoint each."""
    words = ["--dataset", DATASET, "--model", "ce-tor-MLP", "--epochs", "3", "--checkpoint_every", "1"]
    assert status(entry_point("train_classifier"), words) == 0
    run = newest_run(MlflowClient())
    assert run is not None
    return run


def cut(file: Path, share: float = 0.5) -> None:
    """What a power cut leaves of a file that was being written."""
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def files(run: Run) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def test_files_cut_short_are_refused_with_the_reason(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    client = MlflowClient()
    experiments = [trained.info.experiment_id]
    (model,) = client.search_logged_models(experiments)
    weights = Path(model.artifact_location.removeprefix("file://")) / "data" / "model.pt2"
    whole = weights.read_bytes()
    for file, name, options, message in (
        (files(trained) / schema.SPURIOUS_INDICES, "relabel_finetuning", [], "spurious_indices.json is missing or dam"),
        (weights, "score_model", ["--dataset", DATASET], "truncated or damaged"),
    ):
        cut(file)
        capsys.readouterr()
        assert status(entry_point(name), ["--model_uri", ALIAS, *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
        weights.write_bytes(whole)
    assert len(client.search_runs(experiments)) == 1
    assert len(client.search_model_versions()) == 1


def test_a_checkpoint_cut_short_is_passed_over_and_refused_when_it_is_the_only_one(
    trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    client, run_id = MlflowClient(), trained.info.run_id
    words = ["--dataset", DATASET, "--model", "ce-tor-MLP", "--epochs", "3", "--resume_run_id", run_id]
    client.set_terminated(run_id, "FAILED")
    cut(files(trained) / "checkpoints" / "epoch_0003.pt")
    assert status(entry_point("train_classifier"), words) == 0
    assert "resuming after epoch 2" in capsys.readouterr().err
    assert client.get_run(run_id).info.status == "FINISHED"
    assert logged_epochs(client, run_id, "train/loss") == [1, 2, 3]

    client.set_terminated(run_id, "FAILED")
    for file in (files(trained) / "checkpoints").iterdir():
        cut(file, 0.9)
    assert status(entry_point("train_classifier"), words) == 2
    assert "truncated, damaged" in capsys.readouterr().err
    after = client.get_run(run_id)
    assert after.info.status == "FAILED"
    assert "truncated, damaged" in after.data.tags[schema.ERROR]
