"""Checks that a server stores all points of many runs that log at the same time, and measures the time of calls.

``python -m benchmarks load`` starts ``mlflow server --app-name rsc`` on SQLite and, if it is installed, on PostgreSQL.
32 runs in 4 processes log the metrics of training through the server, without training.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import mlflow
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import open_run
from tests.mlflow_server import MlflowServer
from tests.postgres import PostgresCluster, find_program

METRICS = (
    *(schema.TRAIN_LOSS, schema.TRAIN_ACCURACY, schema.LEARNING_RATE, schema.TEST_LOSS, schema.TEST_ACCURACY),
    schema.SPURIOUS_SCORE,
    *(schema.score_target(k) for k in range(10)),
)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class LoadResult:
    """Numbers of finished runs and of stored, lost and doubled points, and times.

    Attributes:
        seconds: time until all runs were logged.
        slowest: longest time of a call of ``run.metrics`` in seconds, during which training would wait.
        request: median time of a request for a run in seconds, without other requests.
    """

    finished: int
    points: int
    lost: int
    doubled: int
    seconds: float
    slowest: float
    request: float


def log_runs(uri: str, runs: int, epochs: int, pause: float) -> float:
    """Log ``runs`` runs, each in a thread of this process; return the time of the slowest call in seconds."""
    mlflow.set_tracking_uri(uri)
    slowest = [0.0] * runs

    def one(k: int) -> None:
        with open_run(kind="train", name=f"load {k}", params={"epochs": epochs}) as run:
            for epoch in range(1, epochs + 1):
                began = time.perf_counter()
                run.metrics(dict.fromkeys(METRICS, (epoch + k) / 7), epoch)
                slowest[k] = max(slowest[k], time.perf_counter() - began)
                time.sleep(pause)

    threads = [threading.Thread(target=one, args=(k,)) for k in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(slowest)


def _measure(server: MlflowServer, runs: int, processes: int, epochs: int, pause: float) -> LoadResult:
    program = (
        f"from benchmarks.load import log_runs; print(log_runs({server.uri!r}, {runs // processes}, {epochs}, {pause}))"
    )
    MlflowClient(server.uri).create_experiment(schema.EXPERIMENT)
    began = time.perf_counter()
    children = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(processes)
    ]
    slowest = [json.loads(child.communicate()[0] or "NaN") for child in children]
    seconds = time.perf_counter() - began
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(schema.EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    points = doubled = 0
    for run in found:
        for name in METRICS:
            history = client.get_metric_history(run.info.run_id, name)
            stored = {(point.step, point.value) for point in history}
            points += len(stored)
            doubled += len(history) - len(stored)
    request = statistics.median(_seconds(lambda: client.get_run(found[0].info.run_id)) for _ in range(100))
    finished = sum(run.info.status == "FINISHED" for run in found)
    return LoadResult(finished, points, runs * epochs * len(METRICS) - points, doubled, seconds, max(slowest), request)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@click.command()
@click.option("--runs", default=32, show_default=True, help="Number of concurrent runs.")
@click.option("--processes", default=4, show_default=True, help="Number of processes that log the runs.")
@click.option("--epochs", default=70, show_default=True, help="Number of epochs that each run logs.")
@click.option("--pause", default=0.2, show_default=True, help="Time between two epochs of a run in seconds.")
@click.option("--workers", default=1, show_default=True, help="Number of processes of the server.")
@click.option("--dashboards/--no-dashboards", default=True, help="This project's server, or MLflow's without an app.")
def main(runs: int, processes: int, epochs: int, pause: float, workers: int, dashboards: bool) -> None:
    """Log concurrent runs to a server, on SQLite and on PostgreSQL."""
    table = Table(title=f"{runs} runs at once in {processes} processes, {epochs} epochs × {len(METRICS)} metrics each")
    headings = ("store", "finished", "points", "lost", "doubled", "seconds", "points/s", "slowest call, ms")
    for heading in (*headings, "request, ms"):
        table.add_column(heading, justify="left" if heading == "store" else "right")
    outcomes = []
    for name in ("SQLite", "PostgreSQL"):
        if name == "PostgreSQL" and find_program("initdb") is None:
            continue
        arguments = ["--workers", str(workers), *(["--app-name", "rsc"] if dashboards else [])]
        outcome = _on_a_server(name, arguments, runs, processes, epochs, pause)
        outcomes.append(outcome)
        counts = (f"{outcome.finished}/{runs}", f"{outcome.points:,}", str(outcome.lost), str(outcome.doubled))
        rate = f"{outcome.points / outcome.seconds:.0f}"
        times = (f"{1000 * outcome.slowest:.0f}", f"{1000 * outcome.request:.1f}")
        table.add_row(name, *counts, f"{outcome.seconds:.0f}", rate, *times)
    Console(width=120).print(table)
    if any(outcome.lost or outcome.doubled or outcome.finished != runs for outcome in outcomes):
        sys.exit(1)


def _on_a_server(name: str, arguments: list[str], runs: int, processes: int, epochs: int, pause: float) -> LoadResult:
    cluster = PostgresCluster().create() if name == "PostgreSQL" else None
    try:
        with tempfile.TemporaryDirectory(prefix="rsc-load-") as folder:
            backend = cluster.database("load") if cluster else None
            server = MlflowServer(Path(folder), backend, arguments).start()
            try:
                return _measure(server, runs, processes, epochs, pause)
            finally:
                server.stop()
    finally:
        if cluster:
            cluster.remove()


if __name__ == "__main__":
    main()
