"""Score a registered model on any pattern.

``python -m entry_points.score_model --model_uri models:/rsc-digits-LargeMLP@digits --dataset digitsv8-0-1-0``
"""

from entry_points.command import run_experiment

if __name__ == "__main__":
    run_experiment("score_model")
