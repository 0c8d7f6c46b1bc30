"""Measure sensitivity to missing pixels: ``python -m entry_points.occlusion``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("occlusion")
