"""Which runs of somebody else's become ours, and that every other one is left as it is."""

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

from rsc_mlflow.errors import AdoptionError, InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.environment import host
from rsc_mlflow.tracking.run import mark_failed, open_run
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.usefixtures("sqlite_store")
PARAMS = {"dataset": "digits", "random_seed": 9, "learning_rate": 0.01, "register": True, "note": "x y"}
OURS = {schema.FINGERPRINT: "a" * 64}
ALL: dict[str, Any] = {"kind": "train", "name": "ours", "params": PARAMS, "tags": OURS}


def content(run_id: str) -> tuple[Any, ...]:
    """Everything that adopting a run could change."""
    run = MlflowClient().get_run(run_id)
    info, data = run.info, run.data
    return (info.status, info.run_name, info.end_time, info.lifecycle_stage, data.params, data.tags, data.metrics)


def opened(status: str = "RUNNING", **tags: str) -> str:
    """A run as ``mlflow run`` opens it, in this status and with these tags."""
    client = MlflowClient()
    run_id = str(client.create_run("0", tags=tags, run_name="bold-fish-123").info.run_id)
    if status == "SCHEDULED":
        client.update_run(run_id, status=status)
    elif status != "RUNNING":
        client.set_terminated(run_id, status)
    return run_id


def finished_training(client: MlflowClient) -> str:
    """Our finished run of another seed, with a curve and a model's version to lose."""
    with open_run(kind="train", name="seed 2", params=PARAMS | {"random_seed": 2}, tags={schema.FINGERPRINT: "b"}) as r:
        r.metrics({"train/loss": 1.0}, 1)
    return r.run_id


def deleted(client: MlflowClient) -> str:
    run_id = opened()
    client.delete_run(run_id)
    return run_id


def with_metric(client: MlflowClient) -> str:
    client.log_metric(run_id := opened(), "accuracy", 0.9)
    return run_id


def with_model(client: MlflowClient) -> str:
    model = client.create_logged_model("0", "model", run_id := opened())
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return run_id


def with_other_parameter(client: MlflowClient) -> str:
    client.log_param(run_id := opened(), "random_seed", "2")
    return run_id


def with_close_parameter(client: MlflowClient) -> str:
    client.log_param(run_id := opened(), "dataset", "digitsv20-3-0-0")
    return run_id


def being_written(client: MlflowClient) -> str:
    return opened(
        **OURS, **{schema.KIND: "train", schema.HOST: host(), schema.PID: "1", schema.HEARTBEAT: f"{time.time():.0f}"}
    )


REFUSED: list[tuple[Callable[[MlflowClient], str], str]] = [
    (finished_training, r"has ended \(FINISHED\)"),
    (lambda _: opened("FINISHED"), r"has ended \(FINISHED\)"),
    (lambda _: opened("FAILED"), r"has ended \(FAILED\)"),
    (lambda _: opened("KILLED"), r"has ended \(KILLED\)"),
    (deleted, "was deleted"),
    (lambda _: opened(**{schema.FINGERPRINT: "c" * 64}), r"belongs to another job \(rsc.fingerprint cccccccccccc…\)"),
    (lambda _: opened("SCHEDULED", **{schema.FINGERPRINT: "c" * 64}), "belongs to another job"),
    (lambda _: opened(**{schema.KIND: "sweep"}), "is of kind 'sweep', not 'train'"),
    (being_written, f"is being written by process 1 on {host()}"),
    (with_metric, "already has results"),
    (with_model, "already has results"),
    (with_other_parameter, "was opened with other options: random_seed was 2, is 9"),
    (with_close_parameter, "was opened with other options: dataset was digitsv20-3-0-0, is digits"),
]


@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_any_other_run_in_the_variable_is_refused_and_left_as_it_is(
    make: Callable[[MlflowClient], str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    run_id = make(client)
    before = content(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with pytest.raises(AdoptionError, match=f"'MLFLOW_RUN_ID': '{run_id}'. The run {why}"), open_run(**ALL):
        pytest.fail("nothing may begin")
    assert content(run_id) == before


@pytest.mark.parametrize(("make", "why"), [case for case in REFUSED if "ended" not in case[1] and "del" not in case[1]])
def test_any_other_active_run_is_refused_and_left_as_it_is(make: Callable[[MlflowClient], str], why: str) -> None:
    run_id = make(MlflowClient())
    with mlflow.start_run(run_id=run_id):
        before = content(run_id)
        with pytest.raises(AdoptionError, match=f"active run {run_id}, which {why}"), open_run(**ALL):
            pytest.fail("nothing may begin")
        assert content(run_id) == before


def test_two_trainings_in_one_active_run() -> None:
    """The second would be filed under the first one's parameters."""
    with mlflow.start_run() as mine:
        with open_run(**ALL) as first:
            first.metrics({"train/loss": 1.0}, 1)
        before = content(mine.info.run_id)
        second = ALL | {"params": PARAMS | {"random_seed": 10}, "tags": {schema.FINGERPRINT: "d" * 64}}
        with pytest.raises(AdoptionError, match="belongs to another job"), open_run(**second):
            pytest.fail("nothing may begin")
        assert content(mine.info.run_id) == before


@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_going_on_in_another_run_leaves_such_a_run_alone_too(
    make: Callable[[MlflowClient], str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError), open_run(**ALL) as interrupted:
        raise RuntimeError("power cut")
    run_id = make(MlflowClient())
    before, unresumed = content(run_id), content(interrupted.run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with pytest.raises(AdoptionError, match=why), open_run(**ALL, resume_run_id=interrupted.run_id):
        pytest.fail("nothing may begin")
    assert content(run_id) == before
    assert content(interrupted.run_id) == unresumed


@pytest.mark.parametrize("status", ["RUNNING", "SCHEDULED"])
@pytest.mark.parametrize("tags", [{}, OURS, {**OURS, schema.KIND: "train"}])
def test_an_unfinished_empty_run_is_taken(status: str, tags: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = opened(status, **tags)
    MlflowClient().log_metric(run_id, "system/cpu_utilization_percentage", 12.0)  # MLflow's own, of any start_run
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with open_run(**ALL) as run:
        assert not run.resumed
    assert run.run_id == run_id
    found = MlflowClient().get_run(run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "ours")
    assert found.data.tags[schema.FINGERPRINT] == OURS[schema.FINGERPRINT]
    assert not [key for key in found.data.tags if key.startswith("rsc.taking.")]


@pytest.mark.parametrize(
    "stored",
    [
        {"learning_rate": "0.010", "register": "True"},
        {"note": "'x y'", "learning_rate": "1e-2"},
        {"random_seed": "'9'", "dataset": "digits"},
        {"learning_rate": "auto", "anything": "of theirs"},
    ],
)
def test_other_spellings_are_not_other_parameters(stored: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = opened()
    for key, value in stored.items():
        MlflowClient().log_param(run_id, key, value)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with open_run(**ALL) as run:
        pass
    assert run.run_id == run_id
    assert MlflowClient().get_run(run_id).data.params.items() >= stored.items()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=50))
def test_whatever_mlflow_run_quotes_is_the_same_parameter(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = opened()
    MlflowClient().log_param(run_id, "note", shlex.quote(text))
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with open_run(kind="train", name="x", params={"note": text}) as run:
        pass
    assert run.run_id == run_id


def test_a_run_whose_process_died_goes_on_without_a_point_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    client = MlflowClient()
    with mlflow.start_run() as active:
        run_id = active.info.run_id
        with open_run(**ALL) as run:
            run.metrics({"train/loss": 1.0}, 1)
        client.set_tag(run_id, schema.PID, str(dead.pid))
    client.update_run(run_id, status="RUNNING")
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with open_run(**ALL) as run:
        assert run.resumed
        run.metrics({"train/loss": 1.0}, 1)
        run.metrics({"train/loss": 0.5}, 2)
    assert [(point.step, point.value) for point in client.get_metric_history(run_id, "train/loss")] == [
        (1, 1),
        (2, 0.5),
    ]


def test_an_interrupted_run_of_another_fingerprint_is_not_resumed() -> None:
    with pytest.raises(RuntimeError), open_run(**ALL) as run:
        raise RuntimeError("power cut")
    before = content(run.run_id)
    other = ALL | {"tags": {schema.FINGERPRINT: "e" * 64}}
    with pytest.raises(InputError, match="was started for another job"), open_run(**other, resume_run_id=run.run_id):
        pytest.fail("nothing may begin")
    assert content(run.run_id) == before


def test_the_interrupted_run_may_be_the_one_in_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), open_run(**ALL) as run:
        raise RuntimeError("power cut")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.run_id)
    with open_run(**ALL, resume_run_id=run.run_id) as again:
        pass
    assert again.run_id == run.run_id
    assert schema.DESCRIPTION not in MlflowClient().get_run(run.run_id).data.tags


@pytest.mark.parametrize(("make", "why"), [case for case in REFUSED if "other options" not in case[1]])
def test_only_an_empty_run_is_told_why_nothing_came_of_it(make: Callable[[MlflowClient], str], why: str) -> None:
    run_id = make(MlflowClient())
    before = content(run_id)
    mark_failed(run_id, "invalid dataset name")
    assert content(run_id) == before, why


def test_of_two_commands_that_take_one_run_at_once_at_most_one_gets_it(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find it empty; over HTTP, where calls of two clients run side by side."""
    from rsc_mlflow.tracking import adopting

    mlflow.set_tracking_uri(mlflow_server.uri)
    client = MlflowClient(mlflow_server.uri)
    monkeypatch.setattr(adopting, "_is_ours", lambda run: False)  # threads stand for processes
    for _ in range(10):
        run_id = client.create_run("0").info.run_id
        both = threading.Barrier(2)
        winners: list[str] = []

        def one(name: str, run_id: str = run_id, both: threading.Barrier = both, winners: list[str] = winners) -> None:
            tags = {schema.KIND: "train", schema.FINGERPRINT: name}
            both.wait()
            try:
                with adopting.taken_over(client, run_id, tags, {}):
                    client.set_tag(run_id, schema.FINGERPRINT, name)
                    winners.append(name)
            except AdoptionError:
                pass

        threads = [threading.Thread(target=one, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tags = client.get_run(run_id).data.tags
        assert len(winners) <= 1
        assert [tags[schema.FINGERPRINT]] == winners if winners else schema.FINGERPRINT not in tags
        assert not [key for key in tags if key.startswith("rsc.taking.")]
