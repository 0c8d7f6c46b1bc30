"""Unlearn a registered model: ``mlflow run . -e group_influence -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("group_influence")
