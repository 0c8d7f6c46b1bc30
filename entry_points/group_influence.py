"""Unlearn a registered model: ``mlflow run . -e group_influence -P model_uri=models:/NAME@ALIAS``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.unlearning_options import GroupInfluenceOptions
from rsc_mlflow.startup import imports_without_gc


def group_influence(options: GroupInfluenceOptions) -> None:
    """Remove the spurious examples' influence by one first-order step: (1/(n-m)) (H + damping I)^-1 gradient."""
    with imports_without_gc():
        from rsc_mlflow.experiments.unlearning import unlearn

    unlearn(options)


cli = command("group_influence", GroupInfluenceOptions, group_influence)

if __name__ == "__main__":
    main(cli)
