"""Train, score and register a classifier: ``python -m entry_points.train_classifier --dataset digitsv20-3-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("train_classifier")
