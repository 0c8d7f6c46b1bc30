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
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[2]
GRID = """
about: Two optimizers on a few datasets, long enough to be killed.
entry_point: train_classifier
options: {model: ce-tor-MLP, epochs: 40, checkpoint_every: 4, score_every: 20, clean_seeds: 0}
axes:
  recipe:
    - {optimizer: adam, momentum: 0}
    - {optimizer: sgd, momentum: 0.9}
  dataset: {family: digits, pattern: v20, count: [0, 3], target: 0, seed: [0, 1]}
"""
JOBS = 2 * (1 + 2)


class SweepProcess:
    """``python -m entry_points.sweep`` in a process group of its own."""

    process: subprocess.Popen[bytes] | None = None

    def __init__(self, folder: Path, uri: str, *arguments: str, grid: str = GRID) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.log = folder, folder / "sweep.log"
        self.grid = str(folder / "grid.yaml")
        Path(self.grid).write_text(grid)
        self.command = [sys.executable, "-m", "entry_points.sweep", "--grid", self.grid, *arguments]
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        self.environment |= {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.environment |= {"MLFLOW_DISABLE_TELEMETRY": "true"}

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def wait(self, seconds: float = 600) -> int:
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the sweep did not end: {self.text()}") from None

    def until(self, condition: Callable[[], object], seconds: float = 400) -> None:
        """Wait for something that happens while it runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.text()
            assert not self.is_over(), self.text()
            time.sleep(0.2)

    def is_over(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """``kill -9`` of the parent alone: its children must see to themselves."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """Whatever is left of it."""
        if not self.is_over():
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def text(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def training_processes(uri: str) -> list[int]:
    """Ids of living processes that have logged an epoch of a run that is under way."""
    under_way = [run for run in jobs_of(runs(uri)) if run.info.status == "RUNNING" and "train/loss" in run.data.metrics]
    return sorted(pid for pid in {int(run.data.tags["rsc.pid"]) for run in under_way} if psutil.pid_exists(pid))


def runs(uri: str) -> list[Run]:
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, max_results=1000))


def jobs_of(found: list[Run]) -> list[Run]:
    return [run for run in found if run.data.tags.get("rsc.kind") != "sweep"]


def finished(uri: str) -> dict[str, int]:
    """Finished run of a job → when it ended."""
    return {run.info.run_id: run.info.end_time for run in jobs_of(runs(uri)) if run.info.status == "FINISHED"}


def assert_each_job_finished_once(uri: str, jobs: int) -> None:
    """Exactly one run per job, finished and whole; a step that was stored twice has one value."""
    found = jobs_of(runs(uri))
    fingerprints = Counter(run.data.tags["rsc.fingerprint"] for run in found if run.info.status == "FINISHED")
    assert len(fingerprints) == jobs
    assert set(fingerprints.values()) == {1}
    assert {run.info.status for run in found} == {"FINISHED"}
    client = MlflowClient(uri)
    for run in found:
        epochs = int(run.data.params["epochs"])
        points = [(p.step, p.value, p.timestamp) for p in client.get_metric_history(run.info.run_id, "train/loss")]
        shown = f"{run.info.run_name}: {sorted(points)}"
        values = {(step, value) for step, value, _ in points}  # a killed process's last request may still arrive
        assert sorted(step for step, _ in values) == list(range(1, epochs + 1)), shown
    parents = [run for run in runs(uri) if run.data.tags.get("rsc.kind") == "sweep"]
    assert {run.data.tags["mlflow.parentRunId"] for run in found} <= {run.info.run_id for run in parents}
    assert "RUNNING" not in {run.info.status for run in parents}
