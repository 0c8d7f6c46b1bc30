"""Unlearn a registered model: ``mlflow run . -e exact_retraining -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("exact_retraining")
