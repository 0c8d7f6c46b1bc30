"""The tour that ``make quickstart`` takes: ``mlflow run .``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("main")
