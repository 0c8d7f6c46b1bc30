"""Score a registered model on any pattern: ``mlflow run . -e score_model -P model_uri=… -P dataset=mnistv8-0-1-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("score_model")
