"""The options of the quickstart."""

from dataclasses import dataclass

from rsc_mlflow.experiments.options import SEED
from rsc_mlflow.fields import Options, integer, option


@dataclass(frozen=True, kw_only=True)
class TourOptions(Options):
    """Options of the tour."""

    epochs: int = option("Number of epochs.", integer(1, 1_000_000), 70)
    random_seed: int = option("Seed of initial weights and batches.", SEED, 0)
