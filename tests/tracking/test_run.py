import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from rsc_mlflow.cancellation import Cancelled
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.artifacts import read_json
from rsc_mlflow.tracking.run import TrackedRun, mark_failed, open_run

pytestmark = pytest.mark.usefixtures("sqlite_store")


def stored(run_id: str) -> Run:
    return MlflowClient().get_run(run_id)


def points(run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient().get_metric_history(run_id, key)]


def artifact(run_id: str, path: str) -> Path:
    return Path(MlflowClient().download_artifacts(run_id, path))


def test_everything_logged_is_in_the_store(tmp_path: Path) -> None:
    checkpoint = tmp_path / schema.checkpoint(2)
    checkpoint.write_bytes(b"weights")
    tags = {schema.FINGERPRINT: "f" * 64}
    with open_run(kind="train", name="train mnist", params={"epochs": 2, "register": True}, tags=tags) as run:
        run.log_params({"epochs": 2.0, "n_train": 60000})
        with pytest.raises(MlflowException, match=r"epochs"):
            run.log_params({"epochs": 3})
        run.metrics({"train/loss": 2.0, "test/accuracy": 0.5}, 1)
        run.metrics({"train/loss": 1.0, "test/accuracy": 0.9}, 2)
        run.log_json({"indices": [3, 1]}, schema.SPURIOUS_INDICES)
        run.log_text("<p>", "figures/score_matrix.html")
        run.log_bytes(b"png", "figures/examples.png")
        run.log_file(checkpoint, schema.CHECKPOINTS)
    found = stored(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "train mnist"
    assert found.data.params == {"epochs": "2", "register": "true", "n_train": "60000"}
    assert found.data.tags.items() >= {schema.KIND: "train", **tags}.items()
    assert len(found.data.tags["mlflow.source.git.commit"]) == 40
    assert read_json(artifact(run.run_id, schema.ENVIRONMENT))["packages"]["mlflow"] == mlflow.__version__
    assert schema.ERROR not in found.data.tags
    assert points(run.run_id, "train/loss") == [(1, 2.0), (2, 1.0)]
    assert points(run.run_id, "test/accuracy") == [(1, 0.5), (2, 0.9)]
    assert read_json(artifact(run.run_id, schema.SPURIOUS_INDICES)) == {"indices": [3, 1]}
    assert list(json.loads(artifact(run.run_id, schema.SPURIOUS_INDICES).read_text())) == ["indices", "sha256"]
    assert artifact(run.run_id, "figures/score_matrix.html").read_text() == "<p>"
    assert artifact(run.run_id, "figures/examples.png").read_bytes() == b"png"
    assert artifact(run.run_id, "checkpoints/epoch_0002.pt").read_bytes() == b"weights"
    assert MlflowClient().get_experiment(found.info.experiment_id).name == "rsc"


def test_the_cost_of_logging_is_logged_last() -> None:
    with open_run(kind="train", name="x") as run:
        run.metrics({"train/loss": 1.0}, 4)
    ((step, seconds),) = points(run.run_id, schema.LOGGING_SECONDS)
    assert step == 4
    assert 0 < seconds < 60
    assert seconds <= run.logging_seconds


def test_a_failure_is_told_and_keeps_what_was_logged() -> None:
    def fail(run: TrackedRun) -> None:
        run.metrics({"train/loss": 1.0}, 1)
        _ = 1 / 0

    with pytest.raises(ZeroDivisionError), open_run(kind="train", name="x") as run:
        fail(run)
    found = stored(run.run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags[schema.ERROR] == "ZeroDivisionError: division by zero"
    assert points(run.run_id, "train/loss") == [(1, 1.0)]
    assert found.info.end_time is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_open_runs_as_killed(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    runs: list[TrackedRun] = []

    def stopped(stack: ExitStack) -> None:
        for k in range(3):
            runs.append(stack.enter_context(open_run(kind="train", name=f"{k}")))
            runs[-1].metrics({"train/loss": 1.0}, 1)
        os.kill(os.getpid(), number)

    with pytest.raises(Cancelled), ExitStack() as stack:
        stopped(stack)
    assert len(runs) == 3
    for run in runs:
        found = stored(run.run_id)
        assert found.info.status == "KILLED"
        assert found.data.tags[schema.ERROR] == f"stopped by {number.name}"
        assert points(run.run_id, "train/loss") == [(1, 1.0)]
    assert signal.getsignal(number) is before


def test_a_name_that_mlflow_would_refuse_raises_at_once() -> None:
    with open_run(kind="train", name="x") as run:
        with pytest.raises(ValueError, match="not a valid metric name"):
            run.metrics({"a//b": 1.0}, 1)
        with pytest.raises(InputError, match="at most 6000"):
            run.log_params({"grid": "x" * 6001})
        with pytest.raises(InputError, match="at most 8000"):
            run.set_tags({"note": "x" * 8001})
        run.log_params({"longest": "x" * 6000})
    assert len(stored(run.run_id).data.params["longest"]) == 6000


def test_params_of_mlflow_run_stay_as_they_were_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient()
    given = client.create_run(client.create_experiment("projects"), run_name="bold-fish-123")
    client.log_param(given.info.run_id, "learning_rate", "0.010")
    client.log_param(given.info.run_id, "resume_run_id", "''")
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    with open_run(kind="train", name="train mnist", params={"learning_rate": 0.01, "epochs": 3}) as run:
        with open_run(kind="train", name="its reference") as second:
            pass
        with open_run(kind="train", name="its child", parent_run_id=run.run_id) as child:
            pass
    assert run.run_id == given.info.run_id
    assert second.run_id != run.run_id
    found = stored(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "train mnist"
    assert found.data.params == {"learning_rate": "0.010", "resume_run_id": "''", "epochs": "3"}
    assert stored(child.run_id).data.tags[schema.PARENT_RUN_ID] == run.run_id
    assert schema.PARENT_RUN_ID not in stored(second.run_id).data.tags


def test_an_adopted_run_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with (
        pytest.raises(InputError, match=r"'MLFLOW_RUN_ID': '0+'\. There is no such run"),
        open_run(kind="train", name="x"),
    ):
        pass


def test_an_active_run_is_used_and_left_to_its_owner() -> None:
    with mlflow.start_run() as mine:
        with open_run(kind="train", name="x", params={"epochs": 1}) as run:
            run.metrics({"train/loss": 1.0}, 1)
        assert stored(mine.info.run_id).info.status == "RUNNING"
        assert mlflow.active_run() is not None
    assert run.run_id == mine.info.run_id
    assert stored(run.run_id).info.status == "FINISHED"
    assert points(run.run_id, "train/loss") == [(1, 1.0)]


def test_an_active_run_that_fails_is_ended_by_its_owner() -> None:
    with mlflow.start_run() as mine:
        with pytest.raises(ZeroDivisionError), open_run(kind="train", name="x"):
            print(1 / 0)
        found = stored(mine.info.run_id)
        assert found.data.tags[schema.ERROR] == "ZeroDivisionError: division by zero"
        assert found.info.status == "RUNNING"
    assert stored(mine.info.run_id).info.status == "FINISHED"  # its owner went on


def test_an_artifact_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    MlflowClient().create_experiment("broken", artifact_location=str(tmp_path / "file" / "artifacts"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "broken")
    with (
        pytest.raises(InputError, match="artifact folder cannot be written"),
        open_run(kind="train", name="x"),
    ):
        pytest.fail("training must not start")
    (run,) = MlflowClient().search_runs([MlflowClient().get_experiment_by_name("broken").experiment_id])
    assert run.info.status == "FAILED"
    assert "artifact folder" in run.data.tags[schema.ERROR]


def test_a_run_opened_for_us_says_why_nothing_came_of_it() -> None:
    given = MlflowClient().create_run("0")
    mark_failed(given.info.run_id, "unknown family 'x'")
    found = stored(given.info.run_id)
    assert (found.info.status, found.data.tags[schema.ERROR]) == ("FAILED", "unknown family 'x'")
    mark_failed("0" * 32, "and never raises")
