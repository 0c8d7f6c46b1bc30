"""What decides a training run, apart from its data: one frozen, validated value."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from rsc_mlflow.errors import InputError
from rsc_mlflow.names import ModelName

OPTIMIZERS = ("sgd", "adam", "adagrad", "rms")
SCHEDULES = ("steps", "none")
PRECISIONS = ("float32", "tf32", "bf16")
_ZERO_OR_MORE = ("weight_decay", "grad_clip", "input_noise")


@dataclass(frozen=True)
class TrainingConfig:
    """The training options of the contract.

    ``momentum`` is used by ``sgd`` and ``rms``; it is recorded but has no effect with ``adam`` and
    ``adagrad``.  ``weight_decay`` is an ℓ2 penalty (added to the gradient) for every optimizer.
    ``grad_clip`` bounds each entry of the gradient of the loss, before weight decay; 0 is off.
    ``input_noise`` is the standard deviation of Gaussian noise added to training inputs, which are not
    clipped to [0, 1] afterwards; 0 is off.  ``epochs`` counts from the start of training.
    ``precision`` is that of matrix products and convolutions; only a GPU has others than ``float32``.

    Raises:
        InputError: a value is out of its range, not finite, or of an unknown kind.
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
                raise InputError(f"{name} must be a whole number of at least {smallest}; got {value!r}")
        for name, accepted in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in accepted:
                raise InputError(f"unknown {name} {getattr(self, name)!r}; accepted: {', '.join(accepted)}")
        if not (_is_number(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate must be a finite number above 0; got {self.learning_rate!r}")
        if not (_is_number(self.momentum) and 0 <= self.momentum < 1):
            raise InputError(f"momentum must be at least 0 and below 1; got {self.momentum!r}")
        for name in _ZERO_OR_MORE:
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0):
                raise InputError(f"{name} must be a finite number of at least 0 (0 is off); got {value!r}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values under the option names, the model as its name: for JSON and checkpoints.

        The default precision is left out, as in checkpoints from before there was a choice.
        """
        values = {**asdict(self), "model": str(self.model)}
        if self.precision == "float32":
            del values["precision"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`.

        Raises:
            InputError: a key is unknown or missing its value, or a value is not accepted.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(f"unknown training options {', '.join(unknown)}; accepted: {', '.join(sorted(known))}")
        if "model" not in values:
            raise InputError("the training options name no model; accepted: a model name such as ce-tor-LargeMLP")
        return cls(**{**values, "model": ModelName.parse(values["model"])})

    def digest(self) -> str:
        """First 32 hexadecimal digits of the SHA-256 of all options."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
