"""Unlearn a registered model: ``mlflow run . -e gradient_difference -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.unlearning_options import GradientDifferenceOptions
from rsc_mlflow.startup import imports_without_gc


def gradient_difference(options: GradientDifferenceOptions) -> None:
    """Go on training"""
    with imports_without_gc():
        from rsc_mlflow.experiments.unlearning import unlearn

    unlearn(options)


cli = command("gradient_difference", GradientDifferenceOptions, gradient_difference)

if __name__ == "__main__":
    main(cli)
