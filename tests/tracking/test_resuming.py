import os
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.artifacts import curves
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.environment import host
from rsc_mlflow.tracking.resuming import ALIVE_SECONDS, is_alive, process_exists
from rsc_mlflow.tracking.run import open_run

pytestmark = pytest.mark.usefixtures("sqlite_store")
PARAMS = {"dataset": "digits", "epochs": 4, "learning_rate": 0.01, "device": "cpu"}


def interrupted() -> str:
    run_id = ""
    try:
        with open_run(kind="train", name="x", params=PARAMS) as run:
            run_id = run.run_id
            for epoch in (1, 2):
                run.metrics({"train/loss": float(epoch), "nan": float("nan")}, epoch)
            raise RuntimeError("power cut")
    except RuntimeError:
        return run_id


def test_a_resumed_run_has_every_point_once_and_forgets_its_error() -> None:
    run_id = interrupted()
    again = {**PARAMS, "learning_rate": "0.010", "device": "cuda"}
    with open_run(kind="train", name="x", params=again, resume_run_id=run_id, free_params=("device",)) as run:
        assert run.resumed
        assert MlflowClient().get_run(run_id).info.status == "RUNNING"
        for epoch in range(2, 5):  # from the checkpoint of epoch 1: epoch 2 is trained again
            run.metrics({"train/loss": float(epoch), "nan": float("nan")}, epoch)
        assert {point.step for point in run.last_points(4)} == {4}
    found = MlflowClient().get_run(run_id)
    assert run.run_id == run_id
    assert found.info.status == "FINISHED"
    assert schema.ERROR not in found.data.tags
    assert found.data.tags[schema.RESUMED] == "1"
    for key in ("train/loss", "nan"):
        history = MlflowClient().get_metric_history(run_id, key)
        assert [point.step for point in history] == [1, 2, 3, 4]
    assert found.data.params["device"] == "cpu"


def test_readers_see_one_point_of_a_step_that_was_stored_twice() -> None:
    """The last request of a killed process arrived after the resumed one had asked what is stored."""
    name = schema.TRAIN_LOSS
    with open_run(kind="train", name="x") as run:
        for step in (1, 2, 3):
            run.metrics({name: step / 4}, step)
        run.flush()
        for timestamp, value in ((1, 7.0), (9_999_999_999_999, 0.5)):  # the later point stands
            run.client.log_metric(run.run_id, name, value, timestamp, step=2)
        assert len(run.client.get_metric_history(run.run_id, name)) == 5
        assert curves(run) == {name: [(1, 0.25), (2, 0.5), (3, 0.75)]}
        assert Details(lambda: run.client).history(run.run_id, name) == curves(run)[name]


def test_the_run_of_mlflow_run_points_to_the_resumed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = interrupted()
    shell = MlflowClient().create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", shell)
    with open_run(kind="train", name="x", params=PARAMS, resume_run_id=run_id) as run:
        pass
    assert run.run_id == run_id
    assert run_id in MlflowClient().get_run(shell).data.tags["mlflow.note.content"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resume_run_id": "0" * 32}, "Expected the id of an unfinished run"),
        ({"resume_run_id": "no id"}, "Expected the id of an unfinished run"),
        ({"kind": "attack"}, "is of kind 'train'. Expected kind 'attack'"),
        ({"params": {**PARAMS, "epochs": 5}}, "epochs was 4, is 5"),
    ],
)
def test_a_run_that_does_not_match(change: dict[str, object], message: str) -> None:
    arguments = {"kind": "train", "params": PARAMS, "resume_run_id": interrupted()} | change
    with pytest.raises(InputError, match=message), open_run(name="x", **arguments):  # type: ignore[arg-type]
        pytest.fail("training must not start")


def test_a_finished_run_is_not_resumed() -> None:
    with open_run(kind="train", name="x") as run:
        pass
    with (
        pytest.raises(InputError, match="is finished and cannot be resumed"),
        open_run(kind="train", name="x", resume_run_id=run.run_id),
    ):
        pass
    assert MlflowClient().get_run(run.run_id).info.status == "FINISHED"


def test_a_deleted_run_is_not_resumed() -> None:
    run_id = interrupted()
    MlflowClient().delete_run(run_id)
    with pytest.raises(InputError, match="was deleted"), open_run(kind="train", name="x", resume_run_id=run_id):
        pass


def test_a_run_that_lives_is_not_resumed() -> None:
    with (
        open_run(kind="train", name="x") as run,
        pytest.raises(InputError, match=f"still running on {host()}"),
        open_run(kind="train", name="x", resume_run_id=run.run_id),
    ):
        pass
    assert MlflowClient().get_run(run.run_id).info.status == "FINISHED"


def _running(pid: int, machine: str, age: float) -> str:
    tags = {schema.KIND: "train", schema.PID: pid, schema.HOST: machine, schema.HEARTBEAT: f"{time.time() - age:.0f}"}
    return str(MlflowClient().create_run("0", tags=tags).info.run_id)


def test_what_is_a_process() -> None:
    for pid, exists in [(str(os.getpid()), True), ("1", True), ("", False), ("-1", False), ("9" * 30, True)]:
        assert process_exists(pid) is exists, pid  # of a number that no process can have nothing is known


def test_signs_of_life() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    client = MlflowClient()
    here, young, old = host(), ALIVE_SECONDS / 2, 2 * ALIVE_SECONDS
    for pid, machine, age, alive in [
        (os.getppid(), here, young, True),
        (ended.pid, here, young, False),
        (ended.pid, "elsewhere", young, True),
        (os.getppid(), here, old, False),
        (ended.pid, "elsewhere", old, False),
    ]:
        assert is_alive(client.get_run(_running(pid, machine, age))) is alive
