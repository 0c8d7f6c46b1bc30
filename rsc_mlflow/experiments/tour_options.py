"""The options of the quickstart."""

from dataclasses import dataclass

from rsc_mlflow.experiments.options import SEED
from rsc_mlflow.fields import Options, integer, option


@dataclass(frozen=True, kw_only=True)
class TourOptions(Options):
    """Options of the tour."""

    epochs: int = option("Number of epochs of every model.", integer(1, 1_000_000), 70)
    random_seed: int = option(
        "Training seed of the models with spurious examples; the clean models have seeds 0 to 9.", SEED, 0
    )
