"""The options that methods share which go on training: one step sees a batch to keep and a batch to forget."""

from dataclasses import dataclass
from typing import ClassVar

from rsc_mlflow.fields import choice, integer, number, option
from rsc_mlflow.unlearning.base import MethodConfig, of_source
from rsc_mlflow.unlearning.choices import OPTIMIZERS, Optimizer


@dataclass(frozen=True, kw_only=True)
class FineTuning(MethodConfig):
    """How to go on training.

    ``unlearn_epochs`` passes over ``retain_examples`` of the retain set (0: all of it) in batches of
    ``unlearn_batch_size``, each joined by ``forget_batch_size`` examples to forget (drawn in passes over the forget
    set).  A step minimizes ``(1 − forget_weight) · retain loss + forget_weight · forget term``.
    """

    LOSSES: ClassVar[tuple[str, ...]] = ("ce",)

    unlearn_epochs: int = option("Passes over the kept examples.", integer(1, 1_000_000), 1)
    unlearn_learning_rate: float = option("Learning rate.", number(0, above=True), 0.0001)
    unlearn_optimizer: Optimizer = option("sgd (momentum 0.9) or adam.", choice(*OPTIMIZERS), "adam")
    unlearn_batch_size: int = option("Kept examples per step.", integer(1, 1_000_000), 128)
    forget_batch_size: int = option("Examples to forget per step, at most all of them.", integer(1, 1_000_000), 32)
    forget_weight: float = option(
        "Weight of the term of the forgotten; the rest is on the kept.", number(0, below=1), 0.5
    )
    retain_examples: int = option("Kept examples that an epoch visits; 0: all of them.", integer(0), 6000)
    random_seed: int = of_source(lambda source: source.training.random_seed, 0)

    def last_epoch(self) -> int:
        """See the base."""
        return self.unlearn_epochs
