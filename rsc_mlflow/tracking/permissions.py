"""Check the permissions of this user on a server with authentication, before any work is done.

The check sends the request itself without a required field.  MLflow checks the permission first: it answers 400 (field
missing) to permitted users and 403 to others, and writes nothing.  Unlike MLflow's permission API, this also works with
roles, workspaces, administrators and other authentication plug-ins.  A store without a server has no permissions.
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
    """Return whether the store denied a permission (403)."""
    return isinstance(error, MlflowException) and error.error_code == "PERMISSION_DENIED"


def may_register(client: MlflowClient, name: str) -> bool:
    """Return whether this user may add versions to a registered model; create the model if it does not exist.

    A server gives the same answer for a model that does not exist and for another user's model, so only creating it
    distinguishes the two.
    """
    uri, fields = mlflow.get_registry_uri(), {"name": name}
    if _allows(uri, _CREATE_VERSION, fields):
        return True
    with suppress(MlflowException):  # it exists, or this user may not create it
        with_retries(lambda: client.create_registered_model(name), "registered model")
    return _allows(uri, _CREATE_VERSION, fields)


def may_change(run: Run) -> bool:
    """Return whether this user may change a run, i.e. has EDIT permission on its experiment."""
    return _allows(mlflow.get_tracking_uri(), _SET_EXPERIMENT_TAG, {"experiment_id": run.info.experiment_id})


def where_allowed(call: Callable[[], object], what: str) -> bool:
    """Make a call to the store; return False if this user lacks the permission."""
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
