"""What this account may do on a server with a log-in, found out before any work is done.

The server is asked for the thing itself, with a required field left out.  The permission comes first: MLflow answers
400 (the field is missing) to those who may, and 403 to all others, and nothing is ever written.  This is asked instead
of MLflow's permission API because it holds for roles, workspaces, administrators and log-ins of other make, too.
A store without a server has no permissions.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

import mlflow
import requests
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow.tracking import mlflow_compat
from rsc_mlflow.tracking.store import with_retries

_CREATE_VERSION = "/api/2.0/mlflow/model-versions/create"  # needs name and source
_SET_EXPERIMENT_TAG = "/api/2.0/mlflow/experiments/set-experiment-tag"  # needs experiment_id and key


def is_denied(error: BaseException) -> bool:
    """Whether the store answered that this account lacks the permission (403)."""
    return isinstance(error, MlflowException) and error.error_code == "PERMISSION_DENIED"


def may_register(client: MlflowClient, name: str) -> bool:
    """Whether this account may add versions to the registered model ``name``, which is made if it is missing.

    A server refuses versions of a model that does not exist as it refuses those of somebody else's, so only making it
    tells the two apart.
    """
    uri, fields = mlflow.get_registry_uri(), {"name": name}
    if _allows(uri, _CREATE_VERSION, fields):
        return True
    with suppress(MlflowException):  # it exists, or this account may make none: the answer below is the same
        with_retries(lambda: client.create_registered_model(name), "registered model")
    return _allows(uri, _CREATE_VERSION, fields)


def may_change(run: Run) -> bool:
    """Whether this account may change the run: it must have EDIT on the run's experiment."""
    return _allows(mlflow.get_tracking_uri(), _SET_EXPERIMENT_TAG, {"experiment_id": run.info.experiment_id})


def where_allowed(call: Callable[[], object], what: str) -> bool:
    """Make a call to the store, unless this account lacks the permission; whether it was made."""
    try:
        with_retries(call, what)
    except MlflowException as error:
        if not is_denied(error):
            raise
        return False
    return True


def _allows(uri: str, endpoint: str, fields: Mapping[str, str]) -> bool:
    if not uri.startswith(("http://", "https://")):
        return True

    def ask() -> int:
        answer = mlflow_compat.post(uri, endpoint, fields)
        if answer.status_code >= 500 or answer.status_code == requests.codes.too_many_requests:
            answer.raise_for_status()
        return answer.status_code

    return with_retries(ask, "permission") != requests.codes.forbidden
