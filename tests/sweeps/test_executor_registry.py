"""An executor is added by registering one function."""

import os
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from entry_points.command import command_of, status
from entry_points.sweep import EXPERIMENT
from rsc_mlflow.errors import InputError
from rsc_mlflow.sweeps.executors import EXECUTORS, Result
from rsc_mlflow.sweeps.options import SweepOptions
from rsc_mlflow.sweeps.worker import Unit, run_unit
from rsc_mlflow.tracking import schema

GRID = """
entry_point: train_classifier
options: {dataset: digits, model: ce-tor-MLP, epochs: 1, score_every: 0, checkpoint_every: 0, clean_seeds: 0}
axes: {random_seed: [0]}
"""


class InThisProcess:
    """The smallest executor: a unit runs when its result is asked for."""

    workers, threads, gpus = 1, 1, 0

    def __init__(self, workers: int | str, ray_address: str, jobs: int) -> None:
        self.units: list[Unit] = []

    def submit(self, unit: Unit) -> None:
        self.units.append(unit)

    def wait(self, seconds: float) -> list[Result]:
        return [Result(unit, run_unit(unit)) for unit in [self.units.pop()]]

    def close(self, *, keep_logs: bool = True) -> None:
        assert not self.units


def test_an_executor_is_added_by_registering_it(
    sqlite_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    assert EXECUTORS.names() == ("local", "ray")
    words = ["--grid", "grid.yaml", "--executor", "in_this_process"]
    assert status(command_of(EXPERIMENT), words) == 2
    assert "Unknown executor 'in_this_process'. Expected one of: local, ray" in capsys.readouterr().err
    monkeypatch.setitem(EXECUTORS._values, "in_this_process", InThisProcess)
    assert status(command_of(EXPERIMENT), words) == 0
    (pid,) = {run.data.tags[schema.PID] for run in MlflowClient().search_runs(["1"])}
    assert pid == str(os.getpid())


def test_an_address_of_ray_is_refused_where_the_executor_would_ignore_it() -> None:
    assert SweepOptions(grid="quick/scores", executor="ray", ray_address="auto").ray_address == "auto"
    with pytest.raises(InputError, match=r"'ray_address': 'auto'\. Expected local with executor=local\."):
        SweepOptions(grid="quick/scores", ray_address="auto")
