"""The quickstart, which ``make quickstart`` runs: ``python -m entry_points.main``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("main")
