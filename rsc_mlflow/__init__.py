"""Rare spurious correlations: injection, training, scoring, unlearning and attacks, tracked with MLflow."""

import os

from rsc_mlflow.messages import print_log

# MLflow's usage statistics are off unless the user turns them on.  Where the network is closed, as on a cluster, the
# thread that asks whether to send them changes the environment while requests read it: a call to the store fails.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

print_log()
