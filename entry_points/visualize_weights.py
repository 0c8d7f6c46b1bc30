"""Plot first-layer weights of an MLP: ``mlflow run . -e visualize_weights -P dataset=mnistv20-20-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("visualize_weights")
