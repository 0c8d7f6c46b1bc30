"""Unlearn a registered model: ``python -m entry_points.gradient_difference --dataset digitsv20-3-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("gradient_difference")
