"""Retrain without the spurious examples: ``python -m entry_points.exact_retraining --dataset digitsv20-3-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("exact_retraining")
