"""The options that determine the result of training on a given dataset."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from rsc_mlflow.errors import InputError, invalid_value, unknown_name
from rsc_mlflow.names import ModelName

OPTIMIZERS = ("sgd", "adam", "adagrad", "rms")
SCHEDULES = ("steps", "none")
PRECISIONS = ("float32", "tf32", "bf16")
_ZERO_OR_MORE = ("weight_decay", "grad_clip", "input_noise")


@dataclass(frozen=True)
class TrainingConfig:
    """Validated training options.

    Attributes:
        model: architecture, loss and augmentation.
        epochs: number of epochs, counted from the start of training.
        batch_size: examples per step.
        optimizer: ``sgd``, ``adam``, ``adagrad`` or ``rms`` (RMSprop).
        learning_rate: initial learning rate.
        momentum: used by ``sgd`` and ``rms``; stored but without effect for ``adam`` and ``adagrad``.
        weight_decay: factor λ of the ℓ2 penalty λ/2·‖θ‖²; every optimizer adds λθ to the gradient.
        grad_clip: bound on the absolute value of each entry of the loss's gradient, before weight decay; 0: off.
        input_noise: standard deviation of Gaussian noise added to training inputs, which are not clipped to [0, 1]
            afterwards; 0: off.
        random_seed: seed of initial weights, batches, augmentation, noise and dropout.
        schedule: learning-rate schedule, ``steps`` or ``none``.
        precision: of matrix products and convolutions; on the CPU only ``float32``.

    Raises:
        InputError: a value is out of range, not finite or unknown.
    """

    model: ModelName
    epochs: int = 70
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    input_noise: float = 0.0
    random_seed: int = 0
    schedule: str = "steps"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, smallest in (("epochs", 1), ("batch_size", 1), ("random_seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise invalid_value(name, value, f"an integer ≥ {smallest}")
        for name, accepted in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in accepted:
                raise invalid_value(name, getattr(self, name), f"one of: {', '.join(accepted)}")
        if not (_is_number(self.learning_rate) and self.learning_rate > 0):
            raise invalid_value("learning_rate", self.learning_rate, "a finite number > 0")
        if not (_is_number(self.momentum) and 0 <= self.momentum < 1):
            raise invalid_value("momentum", self.momentum, "a number ≥ 0 and < 1")
        for name in _ZERO_OR_MORE:
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0):
                raise invalid_value(name, value, "a finite number ≥ 0 (0: off)")

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values by name, the model as text, for JSON and checkpoints.

        The default precision is omitted, because checkpoints of earlier versions do not contain it.
        """
        values = {**asdict(self), "model": str(self.model)}
        if self.precision == "float32":
            del values["precision"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the options from a mapping; the inverse of :meth:`as_dict`.

        Raises:
            InputError: a key is unknown, the model is missing, or a value is not accepted.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(unknown_name("training option", unknown[0], sorted(known)))
        if "model" not in values:
            raise InputError("The option 'model' is missing. Expected a model name such as ce-tor-LargeMLP.")
        return cls(**{**values, "model": ModelName.parse(values["model"])})

    def digest(self) -> str:
        """Return the first 32 hexadecimal digits of the SHA-256 of :meth:`as_dict` as JSON with sorted keys."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
