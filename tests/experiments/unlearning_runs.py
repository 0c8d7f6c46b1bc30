"""A source to unlearn, and short unlearning runs of every method on it."""

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.experiments.unlearning_options import UnlearnOptions, method_options
from rsc_mlflow.tracking import schema

DATASET = "digitsv20-10-0-0"
ALIAS = f"models:/rsc-digits-MLP@{DATASET}"
RECIPE = {"dataset": DATASET, "model": "ce-tor-MLP", "epochs": "3", "learning_rate": "0.05"}
SPEEDY = {"max_iterations": 5, "influences": "false"}


def train(**changes: str) -> str:
    """Train a source; returns its run id."""
    options = TrainOptions.from_mapping({**RECIPE, "checkpoint_every": "0", "score_every": "0", **changes})
    return train_members([TrainingJob(options)])[0].run_id


def runs(method: str) -> list[Run]:
    client = MlflowClient()
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return [run for run in found if run.data.tags[schema.METHOD] == method]


def versions() -> int:
    return len(MlflowClient().search_model_versions("name = 'rsc-digits-MLP'"))


def small(method: str, **changes: object) -> UnlearnOptions:
    own: dict[str, Any] = {"group_influence": SPEEDY, "incremental_retraining": {"epochs": 5}}
    return method_options(method).from_mapping({"model_uri": ALIAS, "score_every": 1, **own.get(method, {}), **changes})
