"""A unit of work in this process, against a real store: what finishes, fails, goes on or starts anew."""

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient

from rsc_mlflow.experiments.declarations import TRAINING
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import Start, experiments
from rsc_mlflow.experiments.training import LiveTraining, TrainingJob, train_members
from rsc_mlflow.sweeps import worker
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.worker import Unit, run_unit
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.store import StoreError
from rsc_mlflow.training import Diverged
from tests.sweeps.units import all_runs, train, unit


@pytest.fixture
def client(sqlite_store: str) -> MlflowClient:
    return MlflowClient(sqlite_store)


def states(unit_of_work: Unit) -> list[str]:
    return [outcome.state for outcome in run_unit(unit_of_work)]


def test_a_cohort_leaves_a_whole_run_per_job(client: MlflowClient) -> None:
    options = [train(), train("digitsv20-3-0-0"), train("digitsv20-3-0-0", weight_decay=0.01)]
    assert states(unit(*options)) == ["finished"] * 3
    runs = all_runs(client)
    assert {run.data.tags[schema.FINGERPRINT] for run in runs} == {
        Job("train_classifier", one).fingerprint for one in options
    }
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags[schema.SWEEP] == "a sweep"
        assert run.data.tags[schema.PARENT_RUN_ID] == "no parent"
        assert run.data.tags[schema.COHORT_SIZE] == "3"
        assert schema.RESUMED not in run.data.tags
    assert states(unit(*options)) == ["finished"] * 3  # nothing is run again
    assert len(all_runs(client)) == 3


def test_a_run_in_a_sweep_is_the_run_that_one_starts_alone(client: MlflowClient) -> None:
    options = train("digitsv20-3-0-0")
    run_unit(unit(options))
    (swept,) = all_runs(client)
    alone = client.get_run(train_members([TrainingJob(options)])[0].run_id)
    assert swept.info.run_name == alone.info.run_name
    assert swept.data.params == alone.data.params
    exact = {key for key in alone.data.metrics if not key.startswith("cost/")}
    assert {key: swept.data.metrics[key] for key in exact} == {key: alone.data.metrics[key] for key in exact}
    extra = {schema.SWEEP, schema.PARENT_RUN_ID, schema.COHORT_SIZE, schema.THREADS}
    assert set(swept.data.tags) - set(alone.data.tags) <= extra


@contextmanager
def signal_after(epoch: int) -> Iterator[None]:
    """Trainings of this process get SIGTERM after this epoch."""
    original = LiveTraining.after_epoch

    def stop(self: LiveTraining, cohort: Any, k: int, report: Any, evaluation: Any) -> None:
        original(self, cohort, k, report, evaluation)
        if report.epoch == epoch:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveTraining, "after_epoch", stop)
        patch.setenv("MLFLOW_EXPERIMENT_ID", "0")
        yield


def interrupt_after(client: MlflowClient, options: TrainOptions, epochs: int) -> str:
    """A run of these options that was killed after some epochs."""
    with signal_after(epochs), pytest.raises(KeyboardInterrupt):
        train_members([TrainingJob(options)])
    return str(all_runs(client)[-1].info.run_id)


def test_an_interrupted_run_goes_on_even_beside_one_that_begins(client: MlflowClient) -> None:
    begun, fresh = train("digitsv20-3-0-0"), train()
    run_id = interrupt_after(client, begun, 2)
    assert states(unit(begun, fresh)) == ["finished"] * 2
    runs = {run.info.run_id: run for run in all_runs(client)}
    assert len(runs) == 2
    assert runs[run_id].data.tags[schema.RESUMED] == "1"
    steps = [point.step for point in client.get_metric_history(run_id, schema.TRAIN_LOSS)]
    assert steps == [1, 2, 3]


def test_a_run_whose_checkpoints_are_damaged_is_given_up_for_a_new_one(client: MlflowClient, tmp_path: Path) -> None:
    options = train("digitsv20-3-0-0")
    run_id = interrupt_after(client, options, 1)
    damaged = tmp_path / schema.checkpoint(1)
    damaged.write_bytes(b"not a checkpoint")
    client.log_artifact(run_id, str(damaged), schema.CHECKPOINTS)
    assert states(unit(options)) == ["finished"]
    given_up, anew = all_runs(client)
    assert given_up.info.run_id == run_id
    assert given_up.info.status == "FAILED"
    assert schema.ERROR in given_up.data.tags
    assert anew.info.status == "FINISHED"


def test_a_job_that_cannot_be_done_fails_and_says_why(client: MlflowClient) -> None:
    (outcome,) = run_unit(unit(train("digitsv20-999-0-0")))
    assert outcome.state == "failed"
    assert "999" in outcome.reason
    assert all_runs(client) == []  # refused before a run was opened, as outside a sweep


def use(monkeypatch: pytest.MonkeyPatch, run: Callable[[Sequence[Start]], None], *, resumes: bool = True) -> None:
    """Let ``train_classifier`` be carried out by ``run``."""
    changed = dataclasses.replace(TRAINING, run=run, resumes=resumes)
    monkeypatch.setattr(worker, "experiments", lambda: {**experiments(), changed.name: changed})


def test_when_a_cohort_fails_its_members_are_tried_alone(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member that cannot train must not take the others with it."""

    def run(starts: Sequence[Start]) -> None:
        if any(start.options.random_seed == 1 for start in starts):
            raise RuntimeError("seed 1 does not train")
        TRAINING.run(starts)

    use(monkeypatch, run)
    options = [train(random_seed=seed) for seed in range(3)]
    found = {outcome.fingerprint: outcome.state for outcome in run_unit(unit(*options))}
    assert [found[Job("train_classifier", one).fingerprint] for one in options] == ["finished", "failed", "finished"]
    assert len(all_runs(client)) == 2


def test_a_cohort_that_does_not_fit_into_memory_is_halved(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory runs out after the runs were opened; they go on in halves, and no other run is left."""
    sizes = []
    original = LiveTraining.after_epoch

    def short(self: LiveTraining, cohort: Any, k: int, report: Any, evaluation: Any) -> None:
        if len(cohort) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        original(self, cohort, k, report, evaluation)

    def run(starts: Sequence[Start]) -> None:
        sizes.append(len(starts))
        TRAINING.run(starts)

    use(monkeypatch, run)
    monkeypatch.setattr(LiveTraining, "after_epoch", short)
    assert states(unit(*[train(random_seed=seed) for seed in range(3)])) == ["finished"] * 3
    assert sizes == [3, 2, 1]
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"] * 3
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == "Not enough memory to train 3 models together. Training 2 of them first."


def test_poisoned_models_are_compared_with_clean_ones_of_their_own_cohort(client: MlflowClient) -> None:
    assert states(unit(train(), train(random_seed=1), train("digitsv20-3-0-0"))) == ["finished"] * 3
    (poisoned,) = [run for run in all_runs(client) if run.data.params["dataset"] != "digits"]
    assert poisoned.data.metrics[schema.N_REFERENCE] == 2
    assert schema.P_VALUE_ONE_CLEAN_MODEL in poisoned.data.metrics


def test_members_that_diverge_fail_and_the_others_go_on_together(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decay of 2100 at a rate of .01 multiplies weights by −20 a step: they survive one epoch of 12 steps, no two."""
    sizes = []

    def run(starts: Sequence[Start]) -> None:
        sizes.append(len(starts))
        TRAINING.run(starts)

    use(monkeypatch, run)
    calm = [train(random_seed=seed) for seed in range(2)]
    wild = train(momentum=0, weight_decay=2100)
    found = {outcome.fingerprint: outcome for outcome in run_unit(unit(calm[0], wild, calm[1]))}
    outcomes = [found[Job("train_classifier", one).fingerprint] for one in (calm[0], wild, calm[1])]
    assert [outcome.state for outcome in outcomes] == ["finished", "failed", "finished"]
    assert "Training diverged: after epoch 2" in outcomes[1].reason
    assert sizes == [3, 2]
    runs = all_runs(client)
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]
    for one in runs:
        steps = [point.step for point in client.get_metric_history(one.info.run_id, schema.TRAIN_LOSS)]
        whole = one.info.status == "FINISHED"
        assert steps == ([1, 2, 3] if whole else [1])
        assert (schema.ERROR in one.data.tags) == (not whole)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreError("no server answers"), "no server answers"),
        (Diverged("training diverged", (5,)), "training diverged"),  # of shadow models: 5 is no member of the unit
        (None, "the command returned, but the store has no finished run of this job"),
    ],
)
def test_what_no_new_run_would_help_fails_and_its_run_can_go_on(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, error: Exception | None, reason: str
) -> None:
    def run(starts: Sequence[Start]) -> None:
        if error is not None:
            raise error

    options = train("digitsv20-3-0-0")
    run_id = interrupt_after(client, options, 1)
    use(monkeypatch, run)
    assert [(one.state, one.reason) for one in run_unit(unit(options))] == [("failed", reason)]
    use(monkeypatch, TRAINING.run)
    assert states(unit(options)) == ["finished"]
    assert [run.info.run_id for run in all_runs(client)] == [run_id]


def left_running(client: MlflowClient, options: TrainOptions, **signs: str) -> str:
    """A run with a checkpoint whose process did not live to close it."""
    run_id = interrupt_after(client, options, 1)
    client.update_run(run_id, status="RUNNING")
    for key, value in signs.items():
        client.set_tag(run_id, getattr(schema, key), value)
    return run_id


@pytest.mark.parametrize(
    ("signs", "goes_on"),
    [
        ({}, False),
        ({"PID": "999999999"}, True),
        ({"HOST": "another-machine", "HEARTBEAT": "1"}, True),
        ({"HOST": "another-machine", "PARENT_RUN_ID": "no parent"}, True),
    ],
    ids=["by hand here", "process gone", "silent elsewhere", "of this sweep, on a lost machine"],
)
def test_a_run_that_somebody_works_on_is_left_alone_and_a_dead_one_goes_on(
    client: MlflowClient, signs: dict[str, str], goes_on: bool
) -> None:
    options = train("digitsv20-3-0-0")
    run_id = left_running(client, options, **signs)
    (outcome,) = run_unit(unit(options))
    assert outcome.state == "finished"
    assert (outcome.run_id == run_id) == goes_on
    assert client.get_run(run_id).info.status == ("FINISHED" if goes_on else "RUNNING")
    assert len(all_runs(client)) == (1 if goes_on else 2)


def test_dead_runs_that_cannot_go_on_are_closed(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps of earlier versions made runs ahead, SCHEDULED and with nothing but tags, claims among them."""
    options = train("digitsv20-3-0-0")
    dead = left_running(client, options, PID="999999999")
    tags = {schema.KIND: "train", schema.FINGERPRINT: Job("train_classifier", options).fingerprint}
    tags |= {"rsc.claim.0123456789ab": "holding 1.0 1 a-machine", schema.HEARTBEAT: "1"}
    shell = client.create_run("0", tags=tags).info.run_id
    client.update_run(shell, status="SCHEDULED")
    use(monkeypatch, TRAINING.run, resumes=False)
    assert states(unit(options)) == ["finished"]
    assert [client.get_run(run_id).info.status for run_id in (dead, shell)] == ["KILLED", "KILLED"]
    assert len(all_runs(client)) == 3


def test_a_worker_that_is_stopped_leaves_killed_runs_that_go_on(client: MlflowClient) -> None:
    """The signal comes in the first of two groups; the second has not begun."""
    begun, fresh = train(), train("digitsv20-3-0-0")
    run_id = interrupt_after(client, begun, 1)
    with signal_after(2), pytest.raises(KeyboardInterrupt):
        run_unit(unit(begun, fresh))
    assert [(run.info.run_id, run.info.status) for run in all_runs(client)] == [(run_id, "KILLED")]
    assert states(unit(begun, fresh)) == ["finished", "finished"]
    assert len(all_runs(client)) == 2
