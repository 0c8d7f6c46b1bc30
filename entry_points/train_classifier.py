"""Train, score and register a classifier: ``mlflow run . -e train_classifier -P dataset=mnistv20-3-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("train_classifier")
