"""The tour that ``make quickstart`` takes: ``mlflow run .``."""

from dataclasses import dataclass

from entry_points.command import command, main
from rsc_mlflow.experiments.fields import Options, integer, option
from rsc_mlflow.experiments.options import SEED
from rsc_mlflow.startup import imports_without_gc


@dataclass(frozen=True, kw_only=True)
class TourOptions(Options):
    """Options of the tour."""

    epochs: int = option("Passes over the training set.", integer(1, 1_000_000), 70)
    random_seed: int = option("Seed of weights and batches.", SEED, 0)


def tour(options: TourOptions) -> None:
    """Train on clean digits and with 3 and 20 spurious examples, then compare: the quickstart's job."""
    with imports_without_gc():
        from rsc_mlflow.experiments.tour import run_tour

    run_tour(options.epochs, options.random_seed)


cli = command("main", TourOptions, tour)

if __name__ == "__main__":
    main(cli)
