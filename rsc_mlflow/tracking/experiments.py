"""The experiment that new runs go to, and what MLflow's page of it shows first."""

import os
from contextlib import suppress

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.store import OWN_EXPERIMENT, is_transient, look_up, reason, redact_passwords, with_retries


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
            return str(with_retries(lambda: client.create_experiment(name, tags=_tags(name)), "experiment"))
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
    """Address of a run's page in MLflow's UI; None where the store is no server."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("http"):
        return None
    return f"{redact_passwords(uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def _tags(name: str) -> dict[str, str]:
    """What an experiment of ours is tagged with."""
    kind = {schema.EXPERIMENT_KIND: schema.MODEL_TRAINING}
    return {schema.DESCRIPTION: schema.experiment_description(name), **kind}


def _described(client: MlflowClient, experiment: Experiment) -> str:
    """The experiment's id, after it got those of our tags that nobody has set, where that is allowed."""
    with suppress(MlflowException):
        for key, text in _tags(experiment.name).items():
            if key not in experiment.tags:
                client.set_experiment_tag(experiment.experiment_id, key, text)
    return str(experiment.experiment_id)
