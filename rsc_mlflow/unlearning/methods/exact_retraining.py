"""The reference that shows what *right* is: the same recipe, from the same seeds, without the forgotten examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.unlearning.base import (
    Examples,
    MethodConfig,
    Observe,
    SourceTraining,
    Unlearned,
    check_sets,
    device_of,
    of_source,
    register_method,
)

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class ExactRetrainingConfig(MethodConfig):
    """``training`` is the source's recipe, seeds included; ``classes`` the number of classes."""

    training: TrainingConfig = of_source(lambda source: source.training)
    classes: int = of_source(lambda source: source.classes)

    def last_epoch(self) -> int:
        """See the base."""
        return self.training.epochs

    def offset(self, source: SourceTraining) -> int:
        """Its epochs count from the start of training."""
        return 0


@register_method(title="exact retraining", config=ExactRetrainingConfig)
def exact_retraining(
    model: nn.Module, forget: Examples, retain: Examples, config: ExactRetrainingConfig, observe: Observe | None = None
) -> Unlearned:
    """Train anew without the spurious examples, from the same seeds: the reference.

    Of ``model`` only the device counts.  Same initial weights and the same generators; the batches differ from the
    source's, since the permutation is one of n−m examples.  Cost: a whole training.
    """
    from rsc_mlflow.unlearning.retraining import train_on

    check_sets(forget, retain)
    return Unlearned(train_on(retain, config.training, None, config.classes, device_of(model), observe), {})
