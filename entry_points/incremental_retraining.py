"""Unlearn a registered model: ``mlflow run . -e incremental_retraining -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.unlearning_options import IncrementalRetrainingOptions
from rsc_mlflow.startup import imports_without_gc


def incremental_retraining(options: IncrementalRetrainingOptions) -> None:
    """Go on training a registered model without its spurious examples, until EPOCHS since the start of training."""
    with imports_without_gc():
        from rsc_mlflow.experiments.unlearning import unlearn

    unlearn(options)


cli = command("incremental_retraining", IncrementalRetrainingOptions, incremental_retraining)

if __name__ == "__main__":
    main(cli)
