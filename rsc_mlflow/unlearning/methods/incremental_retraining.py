"""Incremental retraining, the paper's mitigation: continue training without the spurious examples.

``epochs`` counts from the start of training: with ``epochs=140``, a model of 70 epochs is trained for 70 more.  The
paper's code restores the optimizer with its reduced learning rate (1e-5 after 70 epochs that began with 0.01) and uses
no schedule, so the rate remains constant.  ``learning_rate="auto"`` does the same; a number sets another rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.errors import InputError
from rsc_mlflow.fields import integer, number, option, word_or
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
from rsc_mlflow.unlearning.choices import AUTO

if TYPE_CHECKING:
    from torch import nn

    from rsc_mlflow.training import Checkpoint


@dataclass(frozen=True, kw_only=True)
class IncrementalRetrainingConfig(MethodConfig):
    """Options of incremental retraining, and the source model's last checkpoint (``start``)."""

    NEEDS_GRADIENT: ClassVar[bool] = True

    epochs: int = option("Epoch to stop at, counted from the start of training.", integer(1, 1_000_000), 140)
    learning_rate: float | str = option(
        "Learning rate; auto: the last learning rate of the source model's training.",
        word_or((AUTO,), number(0, above=True)),
        AUTO,
        declared=False,
    )
    start: Checkpoint = of_source(lambda source: source.checkpoint)
    classes: int = of_source(lambda source: source.classes)

    def check(self) -> None:
        """Check that ``epochs`` exceeds the epochs of the source model."""
        done = self.start.epoch
        if self.epochs <= done:
            raise InputError(
                f"Invalid value for 'epochs': {self.epochs}. It counts from the start of training, and the model was "
                f"already trained for {done} epochs. Expected more than {done}, for example {2 * done}."
            )

    def effective(self) -> TrainingConfig:
        """Return the training options: those of the source model, with ``epochs`` and a constant learning rate."""
        rate = self._restored_rate() if isinstance(self.learning_rate, str) else self.learning_rate
        return replace(self.start.config, epochs=self.epochs, learning_rate=rate, schedule="none")

    def _restored_rate(self) -> float:
        from rsc_mlflow.training.schedule import learning_rate_at

        restored = self.start.learning_rate
        return learning_rate_at(self.start.config, max(1, self.start.epoch)) if restored is None else restored

    def last_epoch(self) -> int:
        """See :class:`MethodConfig`."""
        return self.epochs

    def offset(self, source: SourceTraining) -> int:
        """Return 0: epochs count from the start of training."""
        return 0

    def params(self, source: SourceTraining) -> dict[str, Any]:
        """See :class:`MethodConfig`."""
        return {
            "learning_rate": self.effective().learning_rate,
            "epochs_trained": self.epochs - self.start.epoch,
            "optimizer_restored": bool(self.start.optimizer),
            "source_epochs": source.epoch,
        }


@register_method(title="incremental retraining", config=IncrementalRetrainingConfig)
def incremental_retraining(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    config: IncrementalRetrainingConfig,
    observe: Observe | None = None,
) -> Unlearned:
    """Continue training a model without its spurious examples; epochs is the total number of epochs.

    Training continues from the source model's checkpoint.  Of ``model``, only the device is used.
    """
    from rsc_mlflow.unlearning.retraining import train_on
    from rsc_mlflow.unlearning.saturation import still_known

    check_sets(forget, retain)
    trained = train_on(retain, config.effective(), config.start, config.classes, device_of(model), observe)
    return Unlearned(trained, {}, still_known(trained, forget, "Incremental retraining had no effect"))
