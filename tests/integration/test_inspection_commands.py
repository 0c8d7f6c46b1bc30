"""``theory``, ``visualize_weights`` and ``occlusion`` as ``mlflow run`` starts them, on digits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("sqlite_store")]
ROOT = Path(__file__).parents[2]
COMMANDS = {
    "theory": {"n_train": "500", "n_test": "500", "seeds": "2", "gammas": "0.5", "ridges": "0,1", "noises": "0"},
    "visualize_weights": {"dataset": "digitsv20-20-0-0"},
    "occlusion": {"examples": "30", "steps": "3", "device": "cpu"},
}
ARTIFACT = {"theory": "theory.json", "visualize_weights": "weight_map.json", "occlusion": "occlusion.json"}
METRIC = {
    "theory": "theory/derived_error_score",
    "visualize_weights": "weights/pattern_correlation",
    "occlusion": "occlusion/auc",
}


def start(name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager=local", "-e", name]
    for key, value in COMMANDS[name].items():
        command += ["-P", f"{key}={value}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_commands_run_as_projects() -> None:
    options = {"dataset": "digitsv20-20-0-0", "model": "ce-tor-MLP", "epochs": "1", "checkpoint_every": "0"}
    train_members([TrainingJob(TrainOptions.from_mapping(options))])
    started = {name: start(name) for name in COMMANDS}
    for name, process in started.items():
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, f"{name}: {output}"
    client = MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments()]
    for name in COMMANDS:
        (run,) = client.search_runs(experiments, f"tags.`rsc.method` = '{name}'")
        assert (run.info.status, run.data.tags["rsc.kind"]) == ("FINISHED", "score")
        assert ARTIFACT[name] in {item.path for item in client.list_artifacts(run.info.run_id)}
        assert METRIC[name] in run.data.metrics
        for key, value in COMMANDS[name].items():
            assert run.data.params[key].strip("'") == value
