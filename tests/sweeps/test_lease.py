"""A sweep that is alive keeps others from its jobs; one that is dead, or runs something else, does not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from rsc_mlflow.analysis import latest_per_fingerprint, read
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.sweeps.lease import check_no_overlap, take
from rsc_mlflow.sweeps.ledger import Ledger
from rsc_mlflow.sweeps.options import SweepOptions
from rsc_mlflow.sweeps.sweep import plan_sweep, read_grid
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.query import condition, search
from rsc_mlflow.tracking.resuming import ALIVE_SECONDS
from rsc_mlflow.tracking.run import open_run

GRID = """
entry_point: train_classifier
options: {dataset: digits, model: ce-tor-MLP, epochs: 1, score_every: 0, checkpoint_every: 0, clean_seeds: 0}
axes: {random_seed: [0]}
"""


@pytest.fixture
def client(sqlite_store: str) -> MlflowClient:
    return MlflowClient(sqlite_store)


def dead_process() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


def test_a_living_sweep_is_named_to_the_second_that_wants_one_of_its_jobs(client: MlflowClient) -> None:
    with open_run(kind="sweep", name="the first", tags={schema.SWEEP: "first-12345678"}) as first:
        check_no_overlap(client, ["a", "b"])  # it has not said yet what it runs
        take(first, ["a", "b", "c"])
        check_no_overlap(client, ["d"])
        with pytest.raises(InputError) as refused:
            check_no_overlap(client, ["d", "c", "b"])
    text = str(refused.value)
    assert text.startswith("Another sweep runs 2 of these 3 jobs: first-12345678 (run " + first.run_id)
    assert f"process {os.getpid()} on {environment.host()}, started 20" in text
    assert "Wait until it ends" in text
    check_no_overlap(client, ["a"])  # it has ended


@pytest.mark.parametrize(
    ("signs", "lives"),
    [
        ({schema.HOST: environment.host(), schema.PID: dead_process()}, False),
        ({schema.HOST: environment.host(), schema.PID: str(os.getpid())}, True),
        ({schema.HOST: "another-machine", schema.PID: dead_process()}, True),
        ({schema.HOST: "another-machine", schema.HEARTBEAT: f"{time.time() - ALIVE_SECONDS - 1:.0f}"}, False),
    ],
    ids=["its process is gone", "its process is there", "on another machine", "silent on another machine"],
)
def test_a_dead_sweep_is_in_nobodys_way(client: MlflowClient, signs: dict[str, str], lives: bool) -> None:
    with open_run(kind="sweep", name="a sweep") as run:
        take(run, ["a"])
        run.set_tags(signs)
        if lives:
            with pytest.raises(InputError, match=run.run_id):
                check_no_overlap(client, ["a"])
        else:
            check_no_overlap(client, ["a"])


def test_what_was_done_twice_is_counted_once(client: MlflowClient, tmp_path: Path) -> None:
    """As two sweeps do that start at the same moment, or a sweep and somebody who trains by hand."""
    (tmp_path / "grid.yaml").write_text(GRID)
    sweep = plan_sweep(read_grid(SweepOptions(grid=str(tmp_path / "grid.yaml"))))
    (key,) = sweep.left
    runs = [train_members([TrainingJob(sweep.plan.jobs[key].options)])[0].run_id for _ in range(2)]
    assert {client.get_run(run_id).info.status for run_id in runs} == {"FINISHED"}
    ledger = Ledger.read(client)
    assert list(ledger.finished) == [key]
    assert ledger.finished[key].run_id in runs
    counted = latest_per_fingerprint(read(search([condition("tags", schema.FINGERPRINT, key)])))
    assert counted["copies"].tolist() == [1]
    assert sweep.plan.wanted(ledger.finished).jobs.keys() - ledger.finished.keys() == set()
