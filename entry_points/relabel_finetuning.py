"""Unlearn a registered model: ``mlflow run . -e relabel_finetuning -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.unlearning_options import RelabelFinetuningOptions
from rsc_mlflow.startup import imports_without_gc


def relabel_finetuning(options: RelabelFinetuningOptions) -> None:
    """Go on training with random wrong labels on the spurious examples, and the kept ones as they are."""
    with imports_without_gc():
        from rsc_mlflow.experiments.unlearning import unlearn

    unlearn(options)


cli = command("relabel_finetuning", RelabelFinetuningOptions, relabel_finetuning)

if __name__ == "__main__":
    main(cli)
