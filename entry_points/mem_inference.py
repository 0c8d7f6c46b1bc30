"""Run membership inference attacks: ``python -m entry_points.mem_inference --dataset memdigitsv20-5-0-0``."""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("mem_inference")
