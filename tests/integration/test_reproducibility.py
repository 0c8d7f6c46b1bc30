"""The same command gives the same bits, and a run can be repeated from its own record."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mlflow.projects
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.pull import pull, read_artifact
from rsc_mlflow.tracking.values import unquoted
from tests.integration.processes import ROOT, newest_run

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("sqlite_store")]
WORDS = {"dataset": "digitsv20-3-0-0", "model": "ce-tor-CNN002", "epochs": "2", "optimizer": "adam", "momentum": "0"}
WORDS |= {"input_noise": "0.1", "grad_clip": "0.5", "weight_decay": "1e-5", "random_seed": "7"}
"""Every source of randomness: weights, batches, noise, dropout."""


def train(words: dict[str, str]) -> Run:
    arguments = [word for key, value in words.items() for word in (f"--{key}", value)]
    assert status(entry_point("train_classifier"), arguments) == 0
    run = newest_run(MlflowClient())
    assert run is not None
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return pull(f"runs:/{run.info.run_id}/model").state_dict


def curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Every metric's points, but for what a clock or the machine's memory decides."""
    client = MlflowClient()
    names = [name for name in run.data.metrics if not name.startswith("cost/")]
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in names
    }


def assert_same(one: Run, two: Run) -> None:
    assert one.info.run_id != two.info.run_id
    assert curves(one) == curves(two)
    assert len(curves(one)) > 20
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one.data.tags[schema.FINGERPRINT] == two.data.tags[schema.FINGERPRINT]


def test_repeated_by_mlflow_run_from_the_parameters_of_the_tracked_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same process's bits are compared, too: the repetition runs in another one."""
    first = train(WORDS)
    assert_same(first, train(WORDS))

    options = {field: unquoted(first.data.params[field]) for field in TrainOptions(dataset="digits").as_params()}
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", schema.EXPERIMENT)
    mlflow.projects.run(str(ROOT), "train_classifier", parameters=options, env_manager="local")
    repeated = newest_run(MlflowClient())
    assert repeated is not None
    assert_same(first, repeated)


def test_what_it_ran_on_is_on_the_run() -> None:
    run = train(WORDS | {"model": "ce-tor-MLP", "epochs": "1"})
    tags = run.data.tags
    commit = tags["mlflow.source.git.commit"]
    known = subprocess.run(["git", "-C", str(ROOT), "merge-base", "--is-ancestor", commit, "HEAD"], check=False)
    assert known.returncode == 0
    record = read_artifact(run.info.run_id, schema.ENVIRONMENT)
    for package in ("torch", "numpy", "mlflow"):
        assert record["packages"][package] == metadata.version(package)
    assert record["threads"] == torch.get_num_threads()
    assert record["cpu"]
    assert record["gpu"]
