import math
import threading
import time

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.upload_queue import HEARTBEAT_SECONDS, SEND_AFTER_SECONDS, UPLOADER, UploadQueue
from tests.integration.processes import wait_for
from tests.mlflow_server import free_port

pytestmark = pytest.mark.usefixtures("sqlite_store")


def new_queue() -> UploadQueue:
    client = MlflowClient()
    return UploadQueue(client, client.create_run("0").info.run_id)


def batch(step: int, count: int = 3) -> list[Metric]:
    return [Metric(f"m{i}", math.nan if i == 0 else float(i), 1000 + step, step) for i in range(count)]


def steps(queue: UploadQueue, key: str = "m1") -> list[int]:
    return [point.step for point in queue.client.get_metric_history(queue.run_id, key)]


def heartbeat(queue: UploadQueue) -> float:
    return float(queue.client.get_run(queue.run_id).data.tags.get(schema.HEARTBEAT, "0"))


def test_points_sent_twice_are_stored_once() -> None:
    queue = new_queue()
    for _ in range(2):
        queue.add(batch(1))
        queue.add(batch(2))
        queue.flush()
    assert steps(queue, "m0") == steps(queue, "m2") == [1, 2]


def test_an_outage_is_reported_once_and_nothing_is_lost(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    queue = new_queue()
    real, queue.client = queue.client, MlflowClient(f"http://127.0.0.1:{free_port()}")
    queue.add(batch(1))
    for _ in range(2):
        queue.try_to_send()
        assert not queue.is_due(queue.sent_at)
    assert (
        len([message for message in caplog.messages if "3 metric values are kept and will be sent later" in message])
        == 1
    )
    queue.client = real
    queue.flush()
    assert steps(queue) == [1]


def test_when_points_and_heartbeats_are_due() -> None:
    queue = new_queue()
    assert not queue.is_due(queue.sent_at + SEND_AFTER_SECONDS)
    assert queue.is_due(queue.sent_at + HEARTBEAT_SECONDS)
    queue.add(batch(1))
    assert queue.is_due(queue.sent_at + SEND_AFTER_SECONDS)
    assert not queue.is_due(queue.sent_at + SEND_AFTER_SECONDS, after=60.0)


def test_a_refusal_reaches_the_one_who_logs() -> None:
    queue = UploadQueue(MlflowClient(), "0" * 32)
    queue.add(batch(1))
    queue.try_to_send()
    assert not queue.is_due(math.inf)
    for call in (lambda: queue.add(batch(2)), queue.flush):
        with pytest.raises(MlflowException, match="not found"):
            call()


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
        queue.add(batch(step))
    stop.set()
    for thread in threads:
        thread.join()
    queue.flush()
    assert steps(queue) == list(range(300))


def test_what_is_due_leaves_by_itself() -> None:
    queue = new_queue()
    queue.add(batch(1))
    queue.sent_at -= HEARTBEAT_SECONDS
    UPLOADER.register(queue)
    try:
        wait_for("the points leave", lambda: not queue.points)
    finally:
        UPLOADER.release(queue)
    assert steps(queue) == [1]


def test_a_heartbeat_comes_with_points_or_alone() -> None:
    queue, before = new_queue(), time.time()
    queue.flush()
    assert heartbeat(queue) == 0  # nothing to send
    queue.add(batch(1, 2500))
    queue.flush()
    assert before - 1 <= heartbeat(queue) <= time.time() + 1  # whole seconds, rounded
    assert len(queue.client.get_run(queue.run_id).data.metrics) == 2500
    queue.client.set_tag(queue.run_id, schema.HEARTBEAT, "1")
    queue.send()
    assert heartbeat(queue) >= before - 1
