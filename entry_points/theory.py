"""Compute the paper's linear model in closed form and by simulation: ``mlflow run . -e theory``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("theory")
