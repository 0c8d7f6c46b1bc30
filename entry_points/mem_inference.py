"""Run membership inference attacks: ``mlflow run . -e mem_inference -P dataset=memfashionv20-100-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("mem_inference")
