"""The experiment that new runs go to, and addresses in MLflow's UI."""

import os
from contextlib import suppress

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.store import OWN_EXPERIMENT, is_transient, look_up, reason, redact_passwords, with_retries

MODEL_TRAINING = "workflowType=machine_learning"
"""Query with which MLflow 3.17's UI shows the pages of model training; else those of the browser's last choice."""


def chosen_experiment() -> str:
    """Id or name of the experiment that new runs go to, as the environment says."""
    chosen = (os.environ.get(name) for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"))
    return next(filter(None, chosen), schema.EXPERIMENT)


def current_experiment(client: MlflowClient) -> str:
    """Id of the experiment that new runs go to; made if it does not exist, described if nobody has described it.

    Raises:
        InputError: ``MLFLOW_EXPERIMENT_ID`` names no experiment, or the experiment was deleted.
    """
    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        named = look_up(
            lambda: client.get_experiment(experiment_id),
            "experiment",
            lambda why: f"MLFLOW_EXPERIMENT_ID is {experiment_id!r} ({why}); {OWN_EXPERIMENT}",
        )
        return _described(client, named)
    name = chosen_experiment()
    found = look_up(
        lambda: client.get_experiment_by_name(name),
        "experiment",
        lambda why: f"experiment {name!r} cannot be opened ({why}); {OWN_EXPERIMENT}",
    )
    if found is None:
        try:
            tags = {schema.DESCRIPTION: schema.experiment_description(name)}
            return str(with_retries(lambda: client.create_experiment(name, tags=tags), "experiment"))
        except MlflowException as error:
            if is_transient(error):
                raise
            found = client.get_experiment_by_name(name)  # another process may have been quicker
            if found is None:
                raise InputError(f"experiment {name!r} cannot be made ({reason(error)}); {OWN_EXPERIMENT}") from error
    if found is None or found.lifecycle_stage != "active":
        raise InputError(f"experiment {name!r} was deleted; restore it, or set MLFLOW_EXPERIMENT_NAME to another name")
    return _described(client, found)


def run_page(experiment_id: str, run_id: str) -> str | None:
    """Address of a run's page in MLflow's UI, among those of model training; None where the store is no server."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("http"):
        return None
    return f"{redact_passwords(uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{MODEL_TRAINING}"


def _described(client: MlflowClient, experiment: Experiment) -> str:
    """The experiment's id, after an empty description got a link to the dashboards, where that is allowed."""
    if schema.DESCRIPTION not in experiment.tags:
        with suppress(MlflowException):
            text = schema.experiment_description(experiment.name)
            client.set_experiment_tag(experiment.experiment_id, schema.DESCRIPTION, text)
    return str(experiment.experiment_id)
