"""Options of methods that continue training with batches of retained and of forgotten examples."""

from dataclasses import dataclass
from typing import ClassVar

from rsc_mlflow.fields import choice, integer, number, option
from rsc_mlflow.unlearning.base import MethodConfig, of_source
from rsc_mlflow.unlearning.choices import OPTIMIZERS, Optimizer


@dataclass(frozen=True, kw_only=True)
class FineTuning(MethodConfig):
    """Options of continued training.

    Each epoch draws ``retain_examples`` of the retain set (0: all) and uses them in batches of
    ``unlearn_batch_size``.  Each step also uses the next ``forget_batch_size`` examples of the forget set, in random
    order, and minimizes ``(1 − forget_weight) · retain loss + forget_weight · forget term``.
    """

    LOSSES: ClassVar[tuple[str, ...]] = ("ce",)

    unlearn_epochs: int = option(
        "Number of epochs of retain_examples retained examples each.", integer(1, 1_000_000), 1
    )
    unlearn_learning_rate: float = option("Learning rate of the fine-tuning.", number(0, above=True), 0.0001)
    unlearn_optimizer: Optimizer = option("Optimizer: sgd (momentum 0.9) or adam.", choice(*OPTIMIZERS), "adam")
    unlearn_batch_size: int = option("Retained examples per step.", integer(1, 1_000_000), 128)
    forget_batch_size: int = option("Forgotten examples per step.", integer(1, 1_000_000), 32)
    forget_weight: float = option(
        "Weight of the loss term of forgotten examples; retained ones have 1 - weight.", number(0, below=1), 0.5
    )
    retain_examples: int = option("Retained examples per epoch, drawn again in each epoch; 0: all.", integer(0), 6000)
    random_seed: int = of_source(lambda source: source.training.random_seed, 0)

    def last_epoch(self) -> int:
        """See :class:`MethodConfig`."""
        return self.unlearn_epochs
