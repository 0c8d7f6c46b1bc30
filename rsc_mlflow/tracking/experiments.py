"""The experiment that new runs go to, and addresses in MLflow's UI."""

import json
import os
from contextlib import suppress
from urllib.parse import quote

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.store import OWN_EXPERIMENT, is_transient, look_up, reason, redact_passwords, with_retries

MODEL_TRAINING = "workflowType=machine_learning"
"""Query that makes MLflow 3.17's UI show the pages for model training instead of those last used in the browser."""
VIEW_KEY = "rsc"
VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
"""Experiment tag with a saved view of MLflow's list of runs, opened by ``?viewStateShareKey=rsc``."""
VIEW_STATE = json.dumps(
    {
        "selectedColumns": [
            *(f"tags.`{name}`" for name in (schema.KIND, schema.METHOD)),
            "params.`dataset`",
            *(
                f"metrics.`{name}`"
                for name in (schema.SPURIOUS_SCORE, schema.TEST_ACCURACY, schema.gap(schema.SPURIOUS_SCORE))
            ),
            "attributes.`Models`",
            f"tags.`{schema.NOTE}`",
        ]
    }
)
"""Value of that tag: the columns that the view shows in addition to MLflow's own."""


def chosen_experiment() -> str:
    """Return the id or name of the experiment for new runs, as set in the environment."""
    chosen = (os.environ.get(name) for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"))
    return next(filter(None, chosen), schema.EXPERIMENT)


def current_experiment(client: MlflowClient) -> str:
    """Return the id of the experiment for new runs; create it and set its description if they do not exist.

    Raises:
        InputError: ``MLFLOW_EXPERIMENT_ID`` is not the id of an experiment, or the experiment was deleted.
    """
    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        named = look_up(
            lambda: client.get_experiment(experiment_id),
            "experiment",
            lambda why: f"Invalid value for 'MLFLOW_EXPERIMENT_ID': {experiment_id!r} ({why}). {OWN_EXPERIMENT}",
        )
        return _described(client, named)
    name = chosen_experiment()
    found = look_up(
        lambda: client.get_experiment_by_name(name),
        "experiment",
        lambda why: f"Experiment {name!r} cannot be opened ({why}). {OWN_EXPERIMENT}",
    )
    if found is None:
        try:
            tags = {VIEW: VIEW_STATE}
            made = with_retries(lambda: client.create_experiment(name, tags=tags), "experiment")
            found = with_retries(lambda: client.get_experiment(made), "experiment")
        except MlflowException as error:
            if is_transient(error):
                raise
            found = client.get_experiment_by_name(name)  # another process may have created it
            if found is None:
                why = reason(error)
                raise InputError(f"Experiment {name!r} cannot be created ({why}). {OWN_EXPERIMENT}") from error
    if found is None or found.lifecycle_stage != "active":
        raise InputError(f"Experiment {name!r} was deleted. Restore it or set MLFLOW_EXPERIMENT_NAME to another name.")
    return _described(client, found)


def experiment_description(name: str, experiment_id: str) -> str:
    """Return an experiment's description for MLflow's UI, with links to its runs and dashboards.

    The links are relative to MLflow's page, so they work with any host and static prefix.
    """
    runs = f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_KEY}&{MODEL_TRAINING}"
    link = f"dashboards/?experiment={quote(name, safe='')}"
    return (
        f"[Runs with their datasets and scores]({runs}). [Comparison dashboards]({link}) of these runs, if this server "
        "was started with `--app-name rsc`."
    )


def run_page(experiment_id: str, run_id: str) -> str | None:
    """Return the URL of a run's page in MLflow's UI (for model training); None if the store is not a server."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("http"):
        return None
    return f"{redact_passwords(uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{MODEL_TRAINING}"


def run_link(experiment_id: str, run_id: str, text: str) -> str:
    """Return a Markdown link to the run's page, relative to the page of MLflow's UI that shows it."""
    return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}?{MODEL_TRAINING})"


def where_to_look(experiment_id: str, run_id: str) -> str:
    """Return the run's id and address, for the last line of a command."""
    page = run_page(experiment_id, run_id)
    return f"run {run_id}, {page}" if page else f"run {run_id} (to view it: rsc serve)"


def _described(client: MlflowClient, experiment: Experiment) -> str:
    """Set the experiment's description and view, unless it has them already, and return its id."""
    own = str(experiment.experiment_id)
    ours = {
        schema.DESCRIPTION: experiment_description(experiment.name, own),
        VIEW: VIEW_STATE,
    }
    with suppress(MlflowException):  # this account may not have the permission
        for key in ours.keys() - experiment.tags.keys():
            client.set_experiment_tag(own, key, ours[key])
    return own
