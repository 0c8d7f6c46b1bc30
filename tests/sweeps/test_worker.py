"""A unit of work in this process, against a real store: what finishes, fails, goes on or starts anew."""

import dataclasses
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.declarations import TRAINING
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import Start, experiments
from rsc_mlflow.sweeps import worker
from rsc_mlflow.sweeps.claims import ABANDONED, CLAIM_PREFIX, Claimant
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
        assert run.data.tags[worker.COHORT_SIZE] == "3"
        assert schema.RESUMED not in run.data.tags
        assert not any(key.startswith(CLAIM_PREFIX) for key in run.data.tags)
    assert states(unit(*options)) == ["finished"] * 3  # nothing is run again
    assert len(all_runs(client)) == 3


def test_a_run_in_a_sweep_is_the_run_that_one_starts_alone(client: MlflowClient) -> None:
    from rsc_mlflow.experiments.training import TrainingJob, train_members

    options = train("digitsv20-3-0-0")
    run_unit(unit(options))
    (swept,) = all_runs(client)
    alone = client.get_run(train_members([TrainingJob(options)])[0].run_id)
    assert swept.info.run_name == alone.info.run_name
    assert swept.data.params == alone.data.params
    exact = {key for key in alone.data.metrics if not key.startswith("cost/")}
    assert {key: swept.data.metrics[key] for key in exact} == {key: alone.data.metrics[key] for key in exact}
    extra = {schema.SWEEP, schema.PARENT_RUN_ID}
    assert set(swept.data.tags) - set(alone.data.tags) <= extra


def interrupt_after(client: MlflowClient, options: TrainOptions, epochs: int) -> str:
    """A run of these options that was killed after some epochs."""
    from rsc_mlflow.experiments.training import LiveTraining, TrainingJob, train_members

    original = LiveTraining.after_epoch

    def stop(self: LiveTraining, cohort: Any, k: int, report: Any) -> None:
        original(self, cohort, k, report)
        if report.epoch == epochs:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveTraining, "after_epoch", stop)
        patch.setenv("MLFLOW_EXPERIMENT_ID", "0")
        with pytest.raises(KeyboardInterrupt):
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
    assert given_up.data.tags[ABANDONED] == "true"
    assert "could not go on" in given_up.data.tags[schema.ERROR]
    assert anew.info.status == "FINISHED"


def test_a_run_that_was_given_up_while_somebody_else_did_the_job(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = train("digitsv20-3-0-0")
    run_id = interrupt_after(client, options, 1)
    damaged = tmp_path / schema.checkpoint(1)
    damaged.write_bytes(b"not a checkpoint")
    client.log_artifact(run_id, str(damaged), schema.CHECKPOINTS)
    abandon, elsewhere = Claimant.abandon, []

    def abandon_late(claimant: Claimant, given_up: str, why: str) -> None:
        abandon(claimant, given_up, why)
        tags = {schema.KIND: "train", schema.FINGERPRINT: Job("train_classifier", options).fingerprint}
        elsewhere.append(client.create_run("0", tags=tags).info.run_id)
        client.set_terminated(elsewhere[0])

    monkeypatch.setattr(Claimant, "abandon", abandon_late)
    (outcome,) = run_unit(unit(options))
    assert (outcome.state, outcome.run_id) == ("finished", elsewhere[0])
    assert len(all_runs(client)) == 2


def test_a_store_that_is_away_gives_no_interrupted_run_up(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = train("digitsv20-3-0-0")
    run_id = interrupt_after(client, options, 1)

    def run(starts: Sequence[Start]) -> None:
        raise StoreError("no server answers")

    use(monkeypatch, run)
    (outcome,) = run_unit(unit(options))
    assert (outcome.state, outcome.reason, outcome.run_id) == ("failed", "no server answers", run_id)
    assert ABANDONED not in client.get_run(run_id).data.tags
    assert states_again(client, monkeypatch, unit(options)) == ["finished"]
    assert [run.info.run_id for run in all_runs(client)] == [run_id]


@pytest.mark.parametrize("moment", ["_write", "_take_over"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_stopped_while_it_claims_a_job(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, moment: str, interrupted: bool
) -> None:
    """Before it holds the claim and after: a run that was made for it disappears, an interrupted one stays KILLED."""
    options = train()
    if interrupted:
        interrupt_after(client, options, 1)
    original = getattr(Claimant, moment)

    def stopped(*arguments: Any) -> None:
        original(*arguments)
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Claimant, moment, stopped)
    with pytest.raises(KeyboardInterrupt):
        run_unit(unit(options))
    runs = all_runs(client)
    assert [run.info.status for run in runs] == ["KILLED"] * interrupted
    assert not any(key.startswith(CLAIM_PREFIX) for run in runs for key in run.data.tags)
    assert states(unit(options)) == ["finished"]
    assert len(all_runs(client)) == 1


def test_a_job_that_cannot_be_claimed_fails_and_says_why(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise MlflowException("no permission", PERMISSION_DENIED)

    monkeypatch.setattr(Claimant, "claim", refuse)
    assert [(one.state, one.reason) for one in run_unit(unit(train()))] == [
        ("failed", "could not be claimed: no permission")
    ]


def test_a_claim_that_cannot_be_taken_off_does_not_undo_the_work(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise MlflowException("no permission", PERMISSION_DENIED)

    monkeypatch.setattr(Claimant, "release", refuse)
    assert states(unit(train())) == ["finished"]
    assert "its claim stays until it is seen to be dead (no permission)" in caplog.text
    assert states(unit(train())) == ["finished"]


def test_a_job_that_cannot_be_done_fails_and_says_why(client: MlflowClient) -> None:
    (outcome,) = run_unit(unit(train("digitsv20-999-0-0")))
    assert outcome.state == "failed"
    assert "999" in outcome.reason
    (run,) = all_runs(client)
    assert run.info.status == "FAILED"
    assert "999" in run.data.tags[schema.ERROR]


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
    assert len(all_runs(client)) == 3


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
    assert "training diverged: after epoch 2" in outcomes[1].reason
    assert sizes == [3, 2]
    for outcome in outcomes:
        run_of = client.get_run(outcome.run_id)
        steps = [point.step for point in client.get_metric_history(outcome.run_id, schema.TRAIN_LOSS)]
        whole = outcome.state == "finished"
        assert (run_of.info.status, steps) == (("FINISHED", [1, 2, 3]) if whole else ("FAILED", [1]))
        assert (schema.ERROR in run_of.data.tags) == (not whole)


def test_a_job_whose_own_models_diverge_fails_and_is_not_begun_anew(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attack trains a cohort of shadow models by itself: their places say nothing about the unit's jobs."""

    def run(starts: Sequence[Start]) -> None:
        raise Diverged("training diverged", (5,))

    options = train("digitsv20-3-0-0")
    run_id = interrupt_after(client, options, 1)
    use(monkeypatch, run)
    (outcome,) = run_unit(unit(options))
    assert (outcome.state, outcome.reason, outcome.run_id) == ("failed", "training diverged", run_id)
    assert len(all_runs(client)) == 1


def test_an_entry_point_that_leaves_its_run_open_has_not_finished(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, lambda starts: None)
    (outcome,) = run_unit(unit(train()))
    assert outcome.state == "failed"
    assert "its run is SCHEDULED" in outcome.reason
    assert [run.info.status for run in all_runs(client)] == ["FAILED"]


def test_a_run_that_became_another_than_planned_has_not_finished(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(starts: Sequence[Start]) -> None:
        for start in starts:
            client.set_tag(start.run_id, schema.FINGERPRINT, "of another job")
            client.set_terminated(start.run_id, "FINISHED")

    use(monkeypatch, run)
    (outcome,) = run_unit(unit(train()))
    assert outcome.state == "failed"
    assert "with another identity than planned" in outcome.reason


def test_when_it_is_stopped_nothing_is_left_behind(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two claimed jobs in two groups; the signal comes in the first: the second's run disappears again."""
    begun, fresh = train("digitsv20-3-0-0"), train()
    run_id = interrupt_after(client, begun, 1)

    def run(starts: Sequence[Start]) -> None:
        raise KeyboardInterrupt

    use(monkeypatch, run)
    with pytest.raises(KeyboardInterrupt):
        run_unit(unit(begun, fresh))
    runs = all_runs(client)
    assert not any(key.startswith(CLAIM_PREFIX) for run in runs for key in run.data.tags)
    assert run_id in {run.info.run_id for run in runs}
    assert states_again(client, monkeypatch, unit(begun, fresh)) == ["finished", "finished"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_run_that_its_experiment_was_stopped_before_opening_disappears(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, resumes: bool
) -> None:
    """Where the work cannot be resumed, its run is RUNNING before the experiment adopts it."""
    seen = []

    def run(starts: Sequence[Start]) -> None:
        seen.extend(client.get_run(start.run_id).info.status for start in starts)
        raise KeyboardInterrupt

    use(monkeypatch, run, resumes=resumes)
    with pytest.raises(KeyboardInterrupt):
        run_unit(unit(train()))
    assert seen == ["SCHEDULED" if resumes else "RUNNING"]
    assert all_runs(client) == []


def states_again(client: MlflowClient, monkeypatch: pytest.MonkeyPatch, work: Unit) -> list[str]:
    monkeypatch.setattr(worker, "experiments", experiments)
    return states(work)


def test_bad_options_do_not_reach_a_run(client: MlflowClient) -> None:
    good = unit(train())
    bad = dataclasses.replace(good.jobs[0], params={**good.jobs[0].params, "epochs": "0"})
    with pytest.raises(InputError, match="epochs"):
        run_unit(Unit((bad,), good.context))
    assert all_runs(client) == []
