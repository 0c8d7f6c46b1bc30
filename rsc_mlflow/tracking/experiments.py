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
"""Query with which MLflow 3.17's UI shows the pages of model training; else those of the browser's last choice."""
VIEW_KEY = "rsc"
VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
"""Tag of an experiment: a saved view of MLflow's list of runs, opened by ``?viewStateShareKey=rsc``."""
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
"""Its value: the columns that the view shows beside MLflow's own."""


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
            tags = {VIEW: VIEW_STATE}
            made = with_retries(lambda: client.create_experiment(name, tags=tags), "experiment")
            found = with_retries(lambda: client.get_experiment(made), "experiment")
        except MlflowException as error:
            if is_transient(error):
                raise
            found = client.get_experiment_by_name(name)  # another process may have been quicker
            if found is None:
                raise InputError(f"experiment {name!r} cannot be made ({reason(error)}); {OWN_EXPERIMENT}") from error
    if found is None or found.lifecycle_stage != "active":
        raise InputError(f"experiment {name!r} was deleted; restore it, or set MLFLOW_EXPERIMENT_NAME to another name")
    return _described(client, found)


def experiment_description(name: str, experiment_id: str) -> str:
    """What MLflow's page of an experiment says above its runs: where they are compared.

    Addresses are relative to MLflow's own page, so that they hold under any host and static prefix.
    """
    runs = f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_KEY}&{MODEL_TRAINING}"
    link = f"dashboards/?experiment={quote(name, safe='')}"
    return (
        f"[Runs with their datasets and scores]({runs}). [Comparison dashboards]({link}) of these runs, if this server "
        "was started with `--app-name rsc`."
    )


def run_page(experiment_id: str, run_id: str) -> str | None:
    """Address of a run's page in MLflow's UI, among those of model training; None where the store is no server."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("http"):
        return None
    return f"{redact_passwords(uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{MODEL_TRAINING}"


def run_link(experiment_id: str, run_id: str, text: str) -> str:
    """Markdown for a description in MLflow's UI: a link to the run's page, relative to whatever page shows it."""
    return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}?{MODEL_TRAINING})"


def where_to_look(experiment_id: str, run_id: str) -> str:
    """The run's id and where a person sees it: what a command ends with."""
    return f"run {run_id}, {run_page(experiment_id, run_id) or 'see it with: rsc serve'}"


def _described(client: MlflowClient, experiment: Experiment) -> str:
    """The experiment's id, after its description got links and its list of runs a view, unless it has its own."""
    own = str(experiment.experiment_id)
    ours = {
        schema.DESCRIPTION: experiment_description(experiment.name, own),
        VIEW: VIEW_STATE,
    }
    with suppress(MlflowException):  # where that is allowed
        for key in ours.keys() - experiment.tags.keys():
            client.set_experiment_tag(own, key, ours[key])
    return own
