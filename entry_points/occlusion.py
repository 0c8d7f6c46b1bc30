"""Sensitivity to missing pixels: ``mlflow run . -e occlusion -P model_uri=models:/m-1,models:/m-2``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.scoring_options import OcclusionOptions
from rsc_mlflow.startup import imports_without_gc


def occlusion(options: OcclusionOptions) -> None:
    """Mean probability of the true class while more and more non-zero pixels are removed, for one or more models."""
    with imports_without_gc():
        from rsc_mlflow.experiments.occlusion import measure

    measure(options)


cli = command("occlusion", OcclusionOptions, occlusion)

if __name__ == "__main__":
    main(cli)
