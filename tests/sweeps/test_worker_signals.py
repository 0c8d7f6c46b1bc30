"""A worker that is stopped by signals, at whatever moment: nothing stays open, nothing stays claimed."""

import signal

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.sweeps.claims import CLAIM_PREFIX
from rsc_mlflow.sweeps.worker import run_unit
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.signals import interruptible
from tests.interruptions import interrupted_everywhere
from tests.sweeps.units import all_runs, train, unit


def paths(client: MlflowClient, run: Run, folder: str | None = None) -> list[str]:
    """Of the run's artifacts, in all folders."""
    items = client.list_artifacts(run.info.run_id, folder)
    return [path for item in items for path in (paths(client, run, item.path) if item.is_dir else [item.path])]


def test_signals_at_any_statement_leave_no_open_run_and_no_claim(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C reaches a worker from the terminal, and the sweep's own request follows at once."""
    client = MlflowClient(sqlite_store)
    monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "1")
    seeds = iter(range(1000))

    def job_of_its_own() -> None:
        with interruptible():  # before run_unit hears signals itself, a worker does not
            run_unit(unit(train(epochs=1, random_seed=next(seeds))))

    for number in interrupted_everywhere(job_of_its_own, 40, (signal.SIGINT, signal.SIGTERM), gap=8):
        found = all_runs(client)
        assert {run.info.status for run in found} <= {"KILLED", "FINISHED"}, number
        assert not any(key.startswith(CLAIM_PREFIX) for run in found for key in run.data.tags), number
    *stopped, last = found = all_runs(client)
    assert last.info.status == "FINISHED"  # it was not stopped
    assert [run.info.status for run in stopped].count("KILLED") >= 3
    for run in found:  # one that was stopped after its end, while the worker made sure of it, is as whole as the last
        killed = run.info.status == "KILLED"
        assert (schema.ERROR in run.data.tags) == killed
        assert killed or run.data.metrics.keys() == last.data.metrics.keys()
        assert killed or paths(client, run) == paths(client, last)
