"""Exact retraining: training with the same options and seeds, without the forgotten examples."""

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
    """Config of exact retraining, which has no options: the source model's training options and number of classes."""

    training: TrainingConfig = of_source(lambda source: source.training)
    classes: int = of_source(lambda source: source.classes)

    def last_epoch(self) -> int:
        """See :class:`MethodConfig`."""
        return self.training.epochs

    def offset(self, source: SourceTraining) -> int:
        """Return 0: epochs count from the start of training."""
        return 0


@register_method(title="exact retraining", config=ExactRetrainingConfig)
def exact_retraining(
    model: nn.Module, forget: Examples, retain: Examples, config: ExactRetrainingConfig, observe: Observe | None = None
) -> Unlearned:
    """Retrain from scratch without the spurious examples and with the same seeds (the retrained reference).

    Of ``model``, only the device is used.  Initial weights and random generators are those of the source model, but the
    batches differ because there are fewer examples to shuffle.  Cost: a complete training.
    """
    from rsc_mlflow.unlearning.retraining import train_on

    check_sets(forget, retain)
    return Unlearned(train_on(retain, config.training, None, config.classes, device_of(model), observe), {})
