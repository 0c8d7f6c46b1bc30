"""Unlearn a registered model: ``mlflow run . -e exact_retraining -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.unlearning_options import ExactRetrainingOptions
from rsc_mlflow.startup import imports_without_gc


def exact_retraining(options: ExactRetrainingOptions) -> None:
    """Train anew without the spurious examples, from the same seeds"""
    with imports_without_gc():
        from rsc_mlflow.experiments.unlearning import unlearn

    unlearn(options)


cli = command("exact_retraining", ExactRetrainingOptions, exact_retraining)

if __name__ == "__main__":
    main(cli)
