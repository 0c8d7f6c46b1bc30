"""Rare spurious correlations: injection, training, scoring, unlearning and attacks, tracked with MLflow."""

import os

from rsc_mlflow.messages import print_log

# Turn off MLflow's usage statistics unless the user has set this variable.  Without internet access, as on a cluster,
# MLflow's telemetry thread changes environment variables while requests read them, and calls to the store can fail.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

print_log()
