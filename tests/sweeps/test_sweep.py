"""The entry point: exit statuses, the plan and the states in words, failures listed; on a real store."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.sweeps import options as limits
from rsc_mlflow.sweeps import sweep as module
from rsc_mlflow.sweeps.options import SweepOptions
from rsc_mlflow.sweeps.state import close_dead_runs, job_states, previous_parent
from rsc_mlflow.sweeps.sweep import Sweep, plan_sweep, read_grid, run_sweep
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.pull import read_artifact

GRID = """
about: Short trainings.
entry_point: train_classifier
options: {model: ce-tor-MLP, epochs: 2, checkpoint_every: 0, score_every: 0, clean_seeds: 0}
axes:
  dataset: {family: digits, pattern: v20, count: [0, COUNT], target: 0, seed: [0, 1]}
"""
JOBS = 3


@pytest.fixture
def grid(sqlite_store: str, tmp_path: Path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(GRID.replace("COUNT", "3"))
    return path


def sweep(grid: Path, **options: str) -> int:
    arguments = [word for key, value in options.items() for word in (f"--{key}", value)]
    return status(entry_point("sweep"), ["--grid", str(grid), *arguments])


def runs(store: str) -> list[str]:
    client = MlflowClient(store)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.run_id for run in client.search_runs(ids)]


def finish_all(grid: Path, *, but: int = 0) -> None:
    """Finished runs for the jobs of a grid, without training anything."""
    plan = plan_sweep(read_grid(SweepOptions(grid=str(grid)))).plan
    client = MlflowClient()
    for key in list(plan.jobs)[: len(plan) - but]:
        client.set_terminated(client.create_run("0", tags={schema.KIND: "train", schema.FINGERPRINT: key}).info.run_id)


def test_dry_run_says_what_would_be_done_and_does_nothing(
    grid: Path, sqlite_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    finish_all(grid, but=2)
    before = runs(sqlite_store)
    assert sweep(grid, dry_run="true") == 0
    printed = capsys.readouterr().out
    assert f"{JOBS} jobs of train_classifier: 1 finished, 2 to run" in printed
    assert "cohort: train_classifier" in printed
    assert re.search(
        r"^estimate: .* workers?, from a short measurement on this machine for 2 jobs$", printed, re.MULTILINE
    )
    assert runs(sqlite_store) == before


def test_status_tells_the_states_apart(grid: Path, sqlite_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    finish_all(grid, but=2)
    plan = plan_sweep(read_grid(SweepOptions(grid=str(grid)))).plan
    client = MlflowClient()
    run_id = client.create_run("0", tags={schema.KIND: "train", schema.FINGERPRINT: list(plan.jobs)[1]}).info.run_id
    client.set_terminated(run_id, "FAILED")
    assert sweep(grid, status="true") == 0
    printed = capsys.readouterr().out
    assert "3 jobs, 1 finished, 0 running, 0 interrupted, 1 failed, 1 missing" in printed
    assert run_id in printed


def test_states_of_runs_that_have_not_ended(grid: Path) -> None:
    """A living run, one that was killed, one that failed before it was killed."""
    client = MlflowClient()
    plan = plan_sweep(read_grid(SweepOptions(grid=str(grid)))).plan
    killed, living, failed = plan.jobs
    ids = [client.create_run("0", tags={schema.KIND: "train", schema.FINGERPRINT: killed}).info.run_id]
    client.set_terminated(ids[0], "KILLED")
    ids.append(
        client.create_run(
            "0", tags={schema.KIND: "train", schema.FINGERPRINT: living, schema.HEARTBEAT: str(time.time())}
        ).info.run_id
    )
    for status_of in ("FAILED", "KILLED"):
        ids.append(client.create_run("0", tags={schema.KIND: "train", schema.FINGERPRINT: failed}).info.run_id)
        client.set_terminated(ids[-1], status_of)
    client.create_run("0", tags={schema.FINGERPRINT: "of another sweep"})
    assert job_states(client, plan, ()) == {
        killed: ("interrupted", ids[0]),
        living: ("running", ids[1]),
        failed: ("interrupted", ids[3]),
    }
    client.set_tag(ids[1], schema.HEARTBEAT, "1")
    assert job_states(client, plan, {failed})[living] == ("interrupted", ids[1])


def test_an_interrupted_sweep_goes_on_in_its_own_run(sqlite_store: str) -> None:
    client = MlflowClient(sqlite_store)
    ids = {}
    for status_of in ("KILLED", "FINISHED", "RUNNING"):
        tags = {schema.KIND: "sweep", schema.SWEEP: f"of a {status_of} one"}
        ids[status_of] = client.create_run("0", tags=tags).info.run_id
        client.set_terminated(ids[status_of], status_of)
    assert previous_parent(client, "of a KILLED one", "0") == ids["KILLED"]
    assert previous_parent(client, "of a FINISHED one", "0") is None
    assert previous_parent(client, "of a RUNNING one", "0") is None


def test_a_finished_sweep_starts_nothing(grid: Path, sqlite_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    finish_all(grid)
    before = runs(sqlite_store)
    assert sweep(grid) == 0
    assert "nothing to do, all 3 jobs are finished" in capsys.readouterr().out
    assert runs(sqlite_store) == before


def test_runs_of_dead_processes_are_closed_and_no_others(sqlite_store: str) -> None:
    client = MlflowClient(sqlite_store)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = {schema.KIND: "train", schema.HOST: environment.host(), schema.HEARTBEAT: f"{time.time():.0f}"}
    dead = client.create_run("0", tags={**here, schema.PID: str(gone.pid)}).info.run_id
    silent = client.create_run("0", tags={**here, schema.PID: str(os.getpid()), schema.HEARTBEAT: "1"}).info.run_id
    client.create_run("0", tags={**here, schema.PID: str(os.getpid())})
    client.create_run("0")  # not of this project
    assert sorted(close_dead_runs(client)) == sorted([dead, silent])
    assert client.get_run(dead).info.status == "KILLED"
    assert close_dead_runs(client) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entry_point: nothing", "Unknown entry point"),
        (GRID.replace("pattern", "patern"), "Unknown key of axis dataset 'patern'"),
        (GRID.replace("[0, COUNT]", "[]"), "count is empty"),
        (GRID.replace("epochs: 2", "epochs: two"), "Invalid value for 'epochs': 'two'"),
        (GRID.replace("COUNT", "[1]"), "count must be a single value"),
        (
            GRID.replace("seed: [0, 1]", f"seed: {list(range(1000))}").replace("COUNT", "3"),
            "without --yes true",
        ),
    ],
)
def test_bad_grids_are_refused_at_once(
    grid: Path, sqlite_store: str, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    grid.write_text(text)
    assert sweep(grid) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert runs(sqlite_store) == []


MOVING = """
about: Unlearns whatever model the alias stands for.
entry_point: group_influence
options: {model_uri: "models:/rsc-digits-MLP@digitsv20-3-0-0", reference: none, influences: false, solver: ekfac}
"""


@pytest.mark.integration
def test_an_alias_that_moves_to_another_model_is_a_new_job(sqlite_store: str, tmp_path: Path) -> None:
    path = tmp_path / "moving.yaml"
    path.write_text(MOVING)

    def train(seed: int) -> str:
        options = {"dataset": "digitsv20-3-0-0", "model": "ce-tor-MLP", "epochs": "1", "random_seed": str(seed)}
        return train_members([TrainingJob(TrainOptions.from_mapping(options))])[0].model_uri

    def planned() -> Sweep:
        return plan_sweep(read_grid(SweepOptions(grid=str(path))))

    with pytest.raises(InputError, match=r"Cannot find .*rsc-digits-MLP@digitsv20-3-0-0"):
        planned()
    first = train(0)
    assert [job.options.model_uri for job in planned().plan.jobs.values()] == [first]
    assert sweep(path) == 0
    assert planned().left == []
    second = train(1)  # the alias stands at the newest
    assert [planned().plan.jobs[key].options.model_uri for key in planned().left] == [second]
    assert sweep(path) == 0
    found = [MlflowClient().get_run(run_id) for run_id in runs(sqlite_store)]
    unlearned = [run for run in found if run.data.tags[schema.KIND] == "unlearn"]
    assert {run.data.tags[schema.SOURCE_MODEL_URI] for run in unlearned} == {first, second}
    assert {run.info.status for run in unlearned} == {"FINISHED"}


def test_bad_options_are_refused(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({"executor": "slurm"}, {"workers": "0"}, {"cohort_size": "-1"}, {"dry_run": "maybe"}):
        assert sweep(grid, **options) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert sweep(grid.with_name("missing.yaml")) == 2


def test_many_combinations_can_be_looked_at_before_they_are_agreed_to(grid: Path) -> None:
    grid.write_text(GRID.replace("seed: [0, 1]", f"seed: {list(range(limits.LIMIT))}").replace("COUNT", "3"))
    size = read_grid(SweepOptions(grid=str(grid), yes=True)).size
    assert size == limits.LIMIT + 1
    assert read_grid(SweepOptions(grid=str(grid), dry_run=True)).size == size


def test_failures_are_listed_and_the_others_finish(
    grid: Path, sqlite_store: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digits has about 143 training examples of class 0: 400 are too many, which is said before a run is opened."""
    monkeypatch.setattr(module, "SUMMARY_SECONDS", 0.0)
    grid.write_text(GRID.replace("COUNT", "3, 400"))
    assert sweep(grid, workers="1", cohort_size="2") == 1
    said = capfd.readouterr().err
    assert "2 of 5 jobs failed:" in said
    assert "400" in said
    (log,) = re.findall(r"output of the workers: (.*)/worker-N.log", said)
    assert "Traceback" in (Path(log) / "worker-0.log").read_text()  # kept: somebody will want to know
    shutil.rmtree(log)
    client = MlflowClient(sqlite_store)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = list(client.search_runs(ids))
    jobs = [run for run in found if run.data.tags[schema.KIND] != "sweep"]
    assert sorted(run.info.status for run in jobs) == ["FINISHED"] * 3
    (parent,) = [run for run in found if run.data.tags[schema.KIND] == "sweep"]
    assert parent.data.metrics["sweep/finished"] == 3
    assert parent.data.metrics["sweep/failed"] == 2
    assert {run.data.tags[schema.PARENT_RUN_ID] for run in jobs} == {parent.info.run_id}
    listed = read_artifact(parent.info.run_id, "failures.json")["failed"]
    assert ["400" in one["reason"] for one in listed] == [True, True]
    assert "log" not in listed[1]  # it has the same reason
    assert listed[0]["log"].startswith("Traceback")
    assert listed[0]["log"].endswith(listed[0]["reason"])


@pytest.mark.integration
def test_a_job_whose_worker_is_shot_is_done_by_another(grid: Path, sqlite_store: str) -> None:
    """One shot, as soon as there is a worker; then the sweep goes on as if nothing had been."""
    grid.write_text(GRID.replace("[0, COUNT]", "0"))
    shot: list[int] = []

    def shoot() -> None:
        deadline = time.monotonic() + 60
        while not shot and time.monotonic() < deadline:
            found = multiprocessing.active_children()
            if found and found[0].pid is not None:
                os.kill(found[0].pid, signal.SIGKILL)
                shot.append(found[0].pid)
            time.sleep(0.01)

    shooting = threading.Thread(target=shoot)
    shooting.start()
    assert sweep(grid, workers="1") == 0
    shooting.join()
    assert len(shot) == 1
    assert plan_sweep(read_grid(SweepOptions(grid=str(grid)))).left == []


def test_a_sweep_that_breaks_off_closes_what_its_workers_left(
    grid: Path, sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(sqlite_store)

    def abort(*_: object) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        signs = {schema.KIND: "train", schema.HOST: environment.host(), schema.PID: str(gone.pid)}
        client.create_run("0", tags=signs | {schema.HEARTBEAT: str(time.time())})
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_run", abort)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(SweepOptions(grid=str(grid), workers=1))
    (left,) = client.search_runs(["0"])
    assert left.info.status == "KILLED"
