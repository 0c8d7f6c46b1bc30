"""The reference that shows what *right* is: the same recipe, from the same seeds, without the forgotten examples."""

from dataclasses import dataclass

from torch import nn

from rsc_mlflow.training import TrainingConfig
from rsc_mlflow.unlearning.base import Examples, Observe, Unlearned, check_sets, device_of
from rsc_mlflow.unlearning.retraining import train_on


@dataclass(frozen=True)
class ExactRetrainingConfig:
    """``training`` is the source's recipe, seeds included; ``classes`` the number of classes."""

    training: TrainingConfig
    classes: int


def exact_retraining(
    model: nn.Module, forget: Examples, retain: Examples, config: ExactRetrainingConfig, observe: Observe | None = None
) -> Unlearned:
    """Train anew on the retain set; of ``model`` only the device counts.

    Same initial weights and the same generators; the batches differ from the source's, since the
    permutation is one of n−m examples.  Cost: a whole training.
    """
    check_sets(forget, retain)
    trained, last = train_on(retain, config.training, None, config.classes, device_of(model), observe)
    return Unlearned(trained, last)
