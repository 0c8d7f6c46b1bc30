import errno
import math
import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, cast

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


def outbox() -> UploadQueue:
    client = MlflowClient()
    return UploadQueue(client, client.create_run("0").info.run_id)


def batch(step: int, count: int = 3) -> list[Metric]:
    return [Metric(f"m{i}", math.nan if i == 0 else float(i), 1000 + step, step) for i in range(count)]


def steps(box: UploadQueue, key: str) -> list[int]:
    return [point.step for point in box.client.get_metric_history(box.run_id, key)]


def test_points_sent_twice_are_stored_once() -> None:
    box = outbox()
    for _ in range(2):
        box.add_points(batch(1))
        box.add_points(batch(2))
        box.flush()
    assert steps(box, "m0") == steps(box, "m2") == [1, 2]


def test_a_file_leaves_after_the_points_before_it(tmp_path: Path) -> None:
    box = outbox()
    file = tmp_path / "epoch_0001.pt"
    file.write_bytes(b"x")
    box.add_points(batch(1))
    box.add_file(file, "checkpoints")
    file.unlink()
    box.add_points(batch(2))
    folder = Path(box.client.get_run(box.run_id).info.artifact_uri.removeprefix("file://"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        box.send()
    assert steps(box, "m1") == [1]
    assert len(box) == 1 + 3
    folder.unlink()
    box.send()
    assert steps(box, "m1") == [1, 2]
    assert (folder / "checkpoints" / "epoch_0001.pt").read_bytes() == b"x"
    assert len(box) == 0


def test_a_signal_after_a_file_has_left_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy goes away last: a signal at any moment before leaves it in the queue, to be sent again."""
    box = outbox()
    file = tmp_path / "epoch_0001.pt"
    file.write_bytes(b"x")
    box.add_file(file, "checkpoints")
    box.add_points(batch(1))
    remove = shutil.rmtree

    def removed_then_stopped(*arguments: Any, **options: Any) -> None:
        monkeypatch.undo()
        remove(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", removed_then_stopped)
    with pytest.raises(KeyboardInterrupt):
        box.flush()
    box.flush(0.0)
    assert steps(box, "m1") == [1]
    assert [item.path for item in box.client.list_artifacts(box.run_id, "checkpoints")] == ["checkpoints/epoch_0001.pt"]


def test_what_another_thread_sends_is_waited_for_only_so_long() -> None:
    box = outbox()
    box.add_points(batch(1))
    with box._sending, pytest.raises(TimeoutError):
        box.flush(0.2)
    box.flush(0.2)
    assert steps(box, "m1") == [1]


def test_what_is_discarded_while_it_is_sent_does_no_harm() -> None:
    box = outbox()

    class Slow:
        """A client in whose answer the run is given up."""

        def log_batch(self, *arguments: Any, **options: Any) -> None:
            box.discard()

    box.client = cast(MlflowClient, Slow())
    box.add_points(batch(1))
    box.send()
    assert len(box) == 0


def test_a_passing_failure_is_told_once_and_tried_again_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    box = outbox()
    real, box.client = box.client, MlflowClient(f"http://127.0.0.1:{free_port()}")
    box.add_points(batch(1))
    for _ in range(2):
        box.try_to_send()
        box.flush_soon()  # even what is urgent waits
        assert not box.is_due(time.monotonic() + SEND_AFTER_SECONDS / 2)
    assert box.is_due(time.monotonic() + SEND_AFTER_SECONDS)
    told = [message for message in caplog.messages if "is away; 3 points and files are kept and sent later" in message]
    assert len(told) == 1
    box.client = real
    box.flush()
    assert steps(box, "m1") == [1]


def test_when_entries_are_due() -> None:
    box = outbox()
    now = time.monotonic()
    assert not box.is_due(now + 100)
    box.add_points(batch(1))
    assert not box.is_due(now + SEND_AFTER_SECONDS / 2)
    assert box.is_due(time.monotonic() + SEND_AFTER_SECONDS)
    box.flush_soon()
    assert box.is_due(time.monotonic())
    box.flush()
    assert not box.is_due(now + 100)
    box.add_points(batch(2))
    assert not box.is_due(time.monotonic())  # the hurry was for what stood before
    assert not box.is_due(time.monotonic() + 2 * SEND_AFTER_SECONDS, after=60.0)
    box.add_points(batch(3, SEND_AT_POINTS))
    assert box.is_due(time.monotonic())


def test_a_refusal_reaches_the_one_who_logs() -> None:
    client = MlflowClient()
    box = UploadQueue(client, "0" * 32)
    box.add_points(batch(1))
    box.try_to_send()
    with pytest.raises(MlflowException, match="not found"):
        box.add_points(batch(2))
    with pytest.raises(MlflowException, match="not found"):
        box.flush()


def test_points_added_while_others_are_sent_are_neither_lost_nor_doubled() -> None:
    box = outbox()
    stop = threading.Event()

    def sender() -> None:
        while not stop.is_set():
            box.try_to_send()

    threads = [threading.Thread(target=sender) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(300):
        box.add_points(batch(step))
    stop.set()
    for thread in threads:
        thread.join()
    box.flush()
    assert steps(box, "m1") == list(range(300))


def send_one_point(uri: str, run_id: str) -> None:
    box = UploadQueue(MlflowClient(uri), run_id)
    UPLOADER.register(box)
    box.add_points(batch(1))
    box.flush_soon()
    UPLOADER.wake()
    deadline = time.monotonic() + 60
    while len(box) and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_forked_process_has_a_sender_of_its_own(sqlite_store: str) -> None:
    """Threads do not survive a fork: without a new one nothing would leave before the run ends, nor any heartbeat."""
    box = outbox()
    UPLOADER.register(box)  # this process's sender runs
    child = multiprocessing.get_context("fork").Process(target=send_one_point, args=(sqlite_store, box.run_id))
    child.start()
    child.join()
    UPLOADER.release(box)
    assert child.exitcode == 0
    assert steps(box, "m1") == [1]


def test_a_file_of_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    box = outbox()
    (tmp_path / "a.txt").write_text("a")
    box.add_file(tmp_path / "a.txt", None)
    (tmp_path / "a.txt").unlink()
    box.flush()
    assert Path(box.client.download_artifacts(box.run_id, "a.txt")).read_text() == "a"


def test_discarding_removes_the_copies(tmp_path: Path) -> None:
    box = outbox()
    file = tmp_path / "a.txt"
    file.write_text("a")
    box.add_file(file, None)
    assert box._spool is not None
    spool = box._spool
    box.discard()
    assert not spool.exists()
    assert len(box) == 0
    assert file.read_text() == "a"


def test_a_sign_of_life_comes_with_points_or_alone() -> None:
    box = outbox()

    def heartbeat() -> float:
        return float(box.client.get_run(box.run_id).data.tags.get(schema.HEARTBEAT, "0"))

    box.send_heartbeat()
    assert heartbeat() == 0  # the run began a moment ago, with a heartbeat
    before = time.time()
    box.add_points(batch(1, 2500))
    box.flush()
    assert before - 1 <= heartbeat() <= time.time() + 1  # whole seconds, rounded
    assert len(box.client.get_run(box.run_id).data.metrics) == 2500
    box.client.set_tag(box.run_id, schema.HEARTBEAT, "1")
    box.heard_at = time.monotonic()  # however long the lines above took
    box.send_heartbeat()
    assert heartbeat() == 1
    box.heard_at -= HEARTBEAT_SECONDS
    box.send_heartbeat()
    assert heartbeat() >= before - 1
