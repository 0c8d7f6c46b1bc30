import errno
import math
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.upload_queue import (
    HEARTBEAT_SECONDS,
    SEND_AFTER_SECONDS,
    SEND_AT_POINTS,
    UPLOADER,
    UploadQueue,
)
from tests.mlflow_server import free_port

pytestmark = pytest.mark.usefixtures("sqlite_store")


def new_queue() -> UploadQueue:
    client = MlflowClient()
    return UploadQueue(client, client.create_run("0").info.run_id)


def batch(step: int, count: int = 3) -> list[Metric]:
    return [Metric(f"m{i}", math.nan if i == 0 else float(i), 1000 + step, step) for i in range(count)]


def steps(queue: UploadQueue, key: str) -> list[int]:
    return [point.step for point in queue.client.get_metric_history(queue.run_id, key)]


def test_points_sent_twice_are_stored_once() -> None:
    queue = new_queue()
    for _ in range(2):
        queue.add_points(batch(1))
        queue.add_points(batch(2))
        queue.flush()
    assert steps(queue, "m0") == steps(queue, "m2") == [1, 2]


def test_a_file_leaves_after_the_points_before_it_and_what_is_refused_stays(tmp_path: Path) -> None:
    queue = new_queue()
    file = tmp_path / "epoch_0001.pt"
    file.write_bytes(b"x")
    queue.add_points(batch(1))
    queue.add_file(file, "checkpoints")
    file.unlink()
    queue.add_points(batch(2))
    folder = Path(queue.client.get_run(queue.run_id).info.artifact_uri.removeprefix("file://"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        queue.send()
    assert steps(queue, "m1") == [1]
    assert len(queue) == 1 + 3
    folder.unlink()
    queue.send()
    assert steps(queue, "m1") == [1, 2]
    assert (folder / "checkpoints" / "epoch_0001.pt").read_bytes() == b"x"
    assert len(queue) == 0


def test_an_outage_is_reported_once_and_nothing_is_lost(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    queue = new_queue()
    real, queue.client = queue.client, MlflowClient(f"http://127.0.0.1:{free_port()}")
    queue.add_points(batch(1, SEND_AT_POINTS))
    for _ in range(2):
        queue.try_to_send()
        assert not queue.is_due(time.monotonic() + SEND_AFTER_SECONDS / 2)  # many points do not ask more often
    assert queue.is_due(time.monotonic() + SEND_AFTER_SECONDS)
    assert (
        len([message for message in caplog.messages if "900 points and files are kept and sent later" in message]) == 1
    )
    queue.client = real
    queue.flush()
    assert steps(queue, "m1") == [1]


def test_when_entries_are_due() -> None:
    queue = new_queue()
    now = time.monotonic()
    assert not queue.is_due(now + 100)
    queue.add_points(batch(1))
    assert not queue.is_due(now + SEND_AFTER_SECONDS / 2)
    assert queue.is_due(time.monotonic() + SEND_AFTER_SECONDS)
    queue.flush_soon()
    assert queue.is_due(time.monotonic())
    queue.flush()
    assert not queue.is_due(now + 100)
    queue.add_points(batch(2))
    assert not queue.is_due(time.monotonic())  # only what stood before was urgent
    assert not queue.is_due(time.monotonic() + 2 * SEND_AFTER_SECONDS, after=60.0)
    queue.add_points(batch(3, SEND_AT_POINTS))
    assert queue.is_due(time.monotonic())


def test_a_refusal_reaches_the_one_who_logs() -> None:
    queue = UploadQueue(MlflowClient(), "0" * 32)
    queue.add_points(batch(1))
    queue.try_to_send()
    with pytest.raises(MlflowException, match="not found"):
        queue.add_points(batch(2))
    with pytest.raises(MlflowException, match="not found"):
        queue.flush()


def test_points_added_while_others_are_sent_are_neither_lost_nor_doubled() -> None:
    queue = new_queue()
    stop = threading.Event()

    def sender() -> None:
        while not stop.is_set():
            queue.try_to_send()

    threads = [threading.Thread(target=sender) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(300):
        queue.add_points(batch(step))
    stop.set()
    for thread in threads:
        thread.join()
    queue.flush()
    assert steps(queue, "m1") == list(range(300))


def send_one_point(uri: str, run_id: str) -> None:
    queue = UploadQueue(MlflowClient(uri), run_id)
    UPLOADER.register(queue)
    queue.add_points(batch(1))
    queue.flush_soon()
    deadline = time.monotonic() + 60
    while len(queue) and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_forked_process_has_a_sender_of_its_own(sqlite_store: str) -> None:
    """Threads do not survive a fork: without a new one nothing would leave before the run ends, nor any heartbeat."""
    queue = new_queue()
    UPLOADER.register(queue)  # this process's sender runs
    child = multiprocessing.get_context("fork").Process(target=send_one_point, args=(sqlite_store, queue.run_id))
    child.start()
    child.join()
    UPLOADER.release(queue)
    assert child.exitcode == 0
    assert steps(queue, "m1") == [1]


def test_copies_of_files_are_made_on_any_disk_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    queue = new_queue()
    (tmp_path / "a.txt").write_text("a")
    for _ in range(2):
        queue.add_file(tmp_path / "a.txt", None)
    (tmp_path / "a.txt").unlink()
    spool = queue._spool
    assert spool is not None
    queue.flush()
    assert list(spool.iterdir()) == []
    assert Path(queue.client.download_artifacts(queue.run_id, "a.txt")).read_text() == "a"
    queue.discard()
    assert not spool.exists()


def test_a_heartbeat_comes_with_points_or_alone() -> None:
    queue = new_queue()

    def heartbeat() -> float:
        return float(queue.client.get_run(queue.run_id).data.tags.get(schema.HEARTBEAT, "0"))

    queue.send_heartbeat()
    assert heartbeat() == 0  # the run began a moment ago, with a heartbeat
    before = time.time()
    queue.add_points(batch(1, 2500))
    queue.flush()
    assert before - 1 <= heartbeat() <= time.time() + 1  # whole seconds, rounded
    assert len(queue.client.get_run(queue.run_id).data.metrics) == 2500
    queue.client.set_tag(queue.run_id, schema.HEARTBEAT, "1")
    queue.heartbeat_at = time.monotonic() - HEARTBEAT_SECONDS
    queue.send_heartbeat()
    assert heartbeat() >= before - 1
