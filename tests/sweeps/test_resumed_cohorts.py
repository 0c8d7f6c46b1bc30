"""Members of an interrupted cohort that resume in several groups."""

import pytest
from mlflow.tracking import MlflowClient

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import LiveTraining, TrainingJob, train_members
from rsc_mlflow.sweeps.worker import run_unit
from rsc_mlflow.tracking import schema
from tests.sweeps.units import all_runs, train, unit


def stop_before_the_end(monkeypatch: pytest.MonkeyPatch, *jobs: TrainOptions) -> None:
    """Train the jobs together and stop after the last epoch and its checkpoint."""

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt("stopped by the test")

    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    with monkeypatch.context() as patch:
        patch.setattr(LiveTraining, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            train_members([TrainingJob(one) for one in jobs])


def test_clean_models_finish_before_the_poisoned_ones_that_are_compared_with_them(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poisoned model and a clean one were interrupted, another of each has not begun."""
    jobs = [train(name, random_seed=seed) for seed in (0, 1) for name in ("digits", "digitsv20-3-0-0")]
    stop_before_the_end(monkeypatch, *jobs[:2])
    assert [outcome.state for outcome in run_unit(unit(*jobs))] == ["finished"] * 4
    runs = all_runs(MlflowClient(sqlite_store))
    poisoned = [run for run in runs if run.data.params["dataset"] != "digits"]
    assert [run.data.metrics[schema.N_REFERENCE] for run in poisoned] == [2, 2]


def test_a_training_that_is_stopped_between_its_last_epoch_and_its_end_loses_no_metric(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, options = MlflowClient(sqlite_store), train()
    stop_before_the_end(monkeypatch, options)
    (run,) = all_runs(client)
    resumed = train_members([TrainingJob(options, run.info.run_id)])[0].run_id
    alone = train_members([TrainingJob(options)])[0].run_id
    assert resumed == run.info.run_id
    metrics = {key for key in client.get_run(alone).data.metrics if not key.startswith("cost/")}
    assert metrics == {key for key in client.get_run(resumed).data.metrics if not key.startswith("cost/")}
    for key in metrics:
        points = [[(p.step, p.value) for p in client.get_metric_history(one, key)] for one in (alone, resumed)]
        assert points[0] == points[1], key
