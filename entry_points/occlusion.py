"""Measure sensitivity to missing pixels: ``mlflow run . -e occlusion -P model_uri=models:/m-1,models:/m-2``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("occlusion")
