"""The run that ``mlflow run`` opened for this process: the only place where ``MLFLOW_RUN_ID`` is read.

It imports nothing, because a command looks here before it knows whether it needs MLflow.
"""

import os

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"


def run_id_from_environment() -> str | None:
    """Id of the run that was opened for this process and has not been adopted yet."""
    return os.environ.get(RUN_ID_VARIABLE) or None


def forget_run_id() -> None:
    """Called once the run is adopted: like ``mlflow.start_run``, a second run of this process is its own."""
    os.environ.pop(RUN_ID_VARIABLE, None)
