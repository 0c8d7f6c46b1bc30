"""The paper's mitigation: go on training without the spurious examples, and hope that the correlation fades.

``training.epochs`` counts from the start of training: a model of 70 epochs with ``epochs=140`` trains for 70
more.  The paper's code restores the optimiser with its decayed rate (1e-5 after 70 epochs from 0.01) and
steps no schedule, so that the rate stays there: ``learning_rate=None`` does the same; a number overrides it.
"""

from dataclasses import dataclass, replace

from torch import nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.training import Checkpoint, TrainingConfig
from rsc_mlflow.training.schedule import learning_rate_at
from rsc_mlflow.unlearning.base import Examples, Observe, Unlearned, check_sets, device_of
from rsc_mlflow.unlearning.retraining import train_on


@dataclass(frozen=True, eq=False)
class IncrementalRetrainingConfig:
    """``start`` is the source's last checkpoint; ``epochs`` when to stop; ``learning_rate`` None: the restored one."""

    start: Checkpoint
    epochs: int
    classes: int
    learning_rate: float | None = None

    def check(self) -> None:
        """Raises InputError unless ``epochs`` is beyond what the source was trained for."""
        done = self.start.epoch
        if self.epochs <= done:
            raise InputError(
                f"epochs={self.epochs} counts from the start of training, and the model was trained for {done}; "
                f"accepted: more than {done}, for example {2 * done}"
            )

    def effective(self) -> TrainingConfig:
        """The options of what is trained: constant rate, all else as the source's."""
        restored = self.start.learning_rate
        if restored is None:
            restored = learning_rate_at(self.start.config, max(1, self.start.epoch))
        rate = restored if self.learning_rate is None else self.learning_rate
        return replace(self.start.config, epochs=self.epochs, learning_rate=rate, schedule="none")


def incremental_retraining(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    config: IncrementalRetrainingConfig,
    observe: Observe | None = None,
) -> Unlearned:
    """Train on from the checkpoint on the retain set; of ``model`` only the device counts.

    Record: ``epochs_trained``, and the last epoch's ``loss``, ``accuracy``, ``learning_rate``.

    Raises:
        InputError: ``epochs`` is not beyond what the source was trained for.
    """
    check_sets(forget, retain)
    config.check()
    trained, last = train_on(retain, config.effective(), config.start, config.classes, device_of(model), observe)
    return Unlearned(trained, {"epochs_trained": float(config.epochs - config.start.epoch), **last})
