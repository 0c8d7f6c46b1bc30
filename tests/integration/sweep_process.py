"""A sweep as a process that tests start, kill at random moments and start again."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[2]
GRID = """
about: Two optimisers on a few data sets, long enough to be killed.
entry_point: train_classifier
options: {model: ce-tor-MLP, epochs: 40, checkpoint_every: 4, score_every: 20, clean_seeds: 0}
axes:
  recipe:
    - {optimizer: adam, momentum: 0}
    - {optimizer: sgd, momentum: 0.9}
  dataset: {family: digits, pattern: v20, count: [0, 3], target: 0, seed: [0, 1, 2]}
"""
JOBS = 2 * (1 + 3)


class SweepProcess:
    """``python -m entry_points.sweep`` in a process group of its own."""

    def __init__(self, folder: Path, uri: str, *arguments: str, grid: str = GRID) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.path = folder / "grid.yaml"
        self.path.write_text(grid)
        self.command = [sys.executable, "-m", "entry_points.sweep", "--grid", str(self.path), *arguments]
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        self.environment |= {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.environment |= {"MLFLOW_DISABLE_TELEMETRY": "true"}
        self.log = folder / "sweep.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, seconds: float = 600) -> int:
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the sweep did not end: {self.text()}") from None

    def is_over(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """``kill -9`` of the parent alone: its children must see to themselves."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """To the sweep's process, or to all of its process group, as a terminal does."""
        (os.killpg if group else os.kill)(self.pid, number)

    def end(self) -> None:
        """Whatever is left of it."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def text(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def training_processes(uri: str) -> list[int]:
    """Ids of living processes that have logged an epoch of a run that is under way."""
    found = {
        int(run.data.tags["rsc.pid"])
        for run in jobs_of(runs(uri))
        if run.info.status == "RUNNING" and "train/loss" in run.data.metrics
    }
    return sorted(pid for pid in found if psutil.pid_exists(pid))


def runs(uri: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, run_view_type=view, max_results=1000))


def jobs_of(found: list[Run]) -> list[Run]:
    return [run for run in found if run.data.tags.get("rsc.kind") != "sweep"]


def wait_for(condition: Callable[[], object], seconds: float, explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.2)


def assert_each_job_finished_once(uri: str, jobs: int) -> None:
    """Exactly one run per job, finished and whole."""
    found = jobs_of(runs(uri))
    fingerprints = Counter(run.data.tags["rsc.fingerprint"] for run in found if run.info.status == "FINISHED")
    assert len(fingerprints) == jobs
    assert set(fingerprints.values()) == {1}
    left = [(run.info.run_name, run.info.status) for run in found if run.info.status != "FINISHED"]
    assert left == []
    client = MlflowClient(uri)
    for run in found:
        epochs = int(run.data.params["epochs"])
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(steps) == list(range(1, epochs + 1)), run.info.run_name
    parents = [run for run in runs(uri) if run.data.tags.get("rsc.kind") == "sweep"]
    assert {run.data.tags["mlflow.parentRunId"] for run in found} <= {run.info.run_id for run in parents}
    assert "RUNNING" not in {run.info.status for run in parents}
