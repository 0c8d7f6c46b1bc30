"""Units of short trainings, and the runs that they leave."""

from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.worker import Context, Unit

SMALL = {"model": "ce-tor-MLP", "epochs": 3, "checkpoint_every": 1, "score_every": 0, "register": False}


def train(dataset: str = "digits", **options: Any) -> TrainOptions:
    return TrainOptions.from_mapping({"dataset": dataset, **SMALL, **options})


def unit(*options: Any, entry_point: str = "train_classifier") -> Unit:
    jobs = tuple(Job(entry_point, one).spec() for one in options)
    return Unit(jobs, Context(mlflow.get_tracking_uri(), "0", "no parent", "a sweep", 1))


def all_runs(client: MlflowClient) -> list[Run]:
    return list(client.search_runs(["0"], order_by=["attributes.start_time ASC"]))


def endless_unit(seed: int = 0) -> Unit:
    """One training that does not end by itself."""
    return unit(train(epochs=1_000_000, random_seed=seed))
