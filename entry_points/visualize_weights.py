"""Plot first-layer weights of an MLP: ``python -m entry_points.visualize_weights --dataset digitsv20-3-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("visualize_weights")
