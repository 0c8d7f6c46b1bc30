"""The run that ``mlflow run`` created for this process, from ``MLFLOW_RUN_ID``.

This module does not import MLflow, because commands use it before they know whether they need MLflow.
"""

import os

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"


def run_id_from_environment() -> str | None:
    """Return the id of the run that was created for this process and not adopted yet, or None."""
    return os.environ.get(RUN_ID_VARIABLE) or None


def forget_run_id() -> None:
    """Forget the run after it was adopted, as ``mlflow.start_run`` does, so that the next run is a new one."""
    os.environ.pop(RUN_ID_VARIABLE, None)
