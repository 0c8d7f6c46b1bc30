"""What the first layer of an MLP looks at: ``mlflow run . -e visualize_weights -P dataset=mnistv20-20-0-0``."""

from entry_points.command import command, main
from rsc_mlflow.experiments.scoring_options import WeightsOptions
from rsc_mlflow.startup import imports_without_gc


def visualize_weights(options: WeightsOptions) -> None:
    """First-layer weight maps of one or more MLPs, on one colour range, and the difference of the first two."""
    with imports_without_gc():
        from rsc_mlflow.experiments.weights import visualize

    visualize(options)


cli = command("visualize_weights", WeightsOptions, visualize_weights)

if __name__ == "__main__":
    main(cli)
