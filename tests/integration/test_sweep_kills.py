"""``kill -9`` of a sweep's parent, of its workers and of the server: nothing is repeated, lost or doubled."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sweep_process import (
    JOBS,
    SweepProcess,
    assert_each_job_finished_once,
    jobs_of,
    runs,
    training_processes,
    wait_for,
)
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration
EXECUTORS = ("local", "ray")


@pytest.fixture
def sweeps() -> Iterator[Callable[..., SweepProcess]]:
    """Makes sweeps whose processes do not outlive the test."""
    made: list[SweepProcess] = []

    def make(*arguments: Any, **keywords: Any) -> SweepProcess:
        made.append(SweepProcess(*arguments, **keywords))
        return made[-1]

    yield make
    for sweep in made:
        sweep.end()


def kill_one(dice: random.Random, uri: str) -> bool:
    """``kill -9`` of one of the training processes; False if all have just ended by themselves."""
    living = training_processes(uri)
    try:
        os.kill(dice.choice(living), signal.SIGKILL)
    except (ProcessLookupError, IndexError):
        return False
    return True


@pytest.mark.parametrize("executor", EXECUTORS)
def test_killed_again_and_again(
    executor: str, own_server: MlflowServer, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    """The parent twice and a worker once, at random moments while models train; then to the end."""
    dice = random.Random()  # a new moment in every run of this test
    sweep = sweeps(tmp_path, own_server.uri, "--executor", executor, "--workers", "2", "--cohort_size", "2")
    finished_before: dict[str, int] = {}
    for victim in ("parent", "worker", "parent"):
        if sweep.is_over():
            sweep.start()
        wait_for(lambda: training_processes(own_server.uri), 400, sweep.text)
        time.sleep(dice.uniform(0, 2))
        if victim == "worker":
            wait_for(lambda: kill_one(dice, own_server.uri), 400, sweep.text)
        else:
            sweep.kill()
        for run in jobs_of(runs(own_server.uri)):
            if run.info.status == "FINISHED":
                finished_before.setdefault(run.info.run_id, run.info.end_time)
    if sweep.is_over():
        sweep.start()
    assert sweep.wait() == 0, sweep.text()
    assert_each_job_finished_once(own_server.uri, JOBS)
    found = {run.info.run_id: run for run in jobs_of(runs(own_server.uri))}
    assert {key: found[key].info.end_time for key in finished_before} == finished_before  # never run again
    assert any("rsc.resumed" in run.data.tags for run in found.values())  # what was killed went on
    sweep.start()
    assert sweep.wait() == 0
    assert "nothing to do" in sweep.text()
    assert_each_job_finished_once(own_server.uri, JOBS)


def test_two_sweeps_at_once_share_the_jobs(
    own_server: MlflowServer, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    both = []
    cpus = sorted(os.sched_getaffinity(0))
    for cpu, name in ((cpus[0], "one"), (cpus[-1], "other")):
        (tmp_path / name).mkdir()
        both.append(sweeps(tmp_path / name, own_server.uri, "--workers", "1", "--cohort_size", "2", cpu=cpu))
        both[-1].start()
    assert [sweep.wait() for sweep in both] == [0, 0], both[0].text() + both[1].text()
    assert_each_job_finished_once(own_server.uri, JOBS)


def test_the_server_is_killed_and_comes_back(
    own_server: MlflowServer, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    sweep = sweeps(tmp_path, own_server.uri, "--workers", "2", "--cohort_size", "4")
    sweep.start()
    wait_for(lambda: training_processes(own_server.uri), 400, sweep.text)
    own_server.kill()
    time.sleep(5)
    own_server.start()
    assert sweep.wait() == 0, sweep.text()
    assert_each_job_finished_once(own_server.uri, JOBS)
