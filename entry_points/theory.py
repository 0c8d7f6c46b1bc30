"""Compute the paper's linear model in closed form and by simulation: ``python -m entry_points.theory``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("theory")
