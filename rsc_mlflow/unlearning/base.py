"""What an unlearning method is: a model, what to forget, what to keep and a frozen config in; a model and a record out.

Every method of this package is one file with one frozen config and one function of the same signature:

    def method(model, forget, retain, config, observe=None) -> Unlearned

so that any two compare, and adding a method is adding a file.  Methods never change the model they are
given, draw every random number from generators of their own, and know nothing of tracking.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from rsc_mlflow.errors import InputError

Observe = Callable[[int, nn.Module, Mapping[str, float]], None]
"""Called after each epoch with the epoch (from 1), the model so far (do not change it) and the epoch's figures."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows ``indices`` of image and label tensors that others share: a set of examples without a copy.

    Shapes: ``images`` float32 ``[N, C, H, W]``, ``labels`` int64 ``[N]``, ``indices`` int64 ``[n]``.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> "Examples":
        """All rows of the two tensors."""
        return cls(images, labels, torch.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.indices)

    def rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels at ``positions`` (int64, any shape) of this set."""
        chosen = self.indices[positions]
        return self.images[chosen], self.labels[chosen]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in order, at most ``size`` at a time."""
        for positions in torch.split(torch.arange(len(self)), size):
            yield self.rows(positions)

    def subset(self, count: int, generator: torch.Generator) -> "Examples":
        """``count`` of the examples without replacement; all of them if ``count`` is 0 or not smaller."""
        if not 0 < count < len(self):
            return self
        chosen = torch.randperm(len(self), generator=generator)[:count].sort().values
        return Examples(self.images, self.labels, self.indices[chosen])

    def to(self, device: torch.device) -> "Examples":
        """The same examples on a device; where they are there already, the shared tensors themselves."""
        return Examples(self.images.to(device), self.labels.to(device), self.indices.to(device))


@dataclass(frozen=True, eq=False)
class Unlearned:
    """What a method gives back.

    ``model``: a new module in evaluation mode, on the device of the one given.
    ``record``: figures of the update by name (``gradient_norm``, ``residual``, …).
    ``notes``: sentences a person must read, e.g. that influence cannot act on a saturated model.
    """

    model: nn.Module
    record: dict[str, float]
    notes: tuple[str, ...] = field(default=())


ConfigT = TypeVar("ConfigT", contravariant=True)


class Method(Protocol[ConfigT]):
    """The one signature of all methods.

    ``model`` is in any mode and is not changed; ``forget`` holds the examples as the model saw them (with
    their pattern); ``retain`` the rest of its training set.  Raises InputError when ``forget`` or
    ``retain`` is empty, or the config cannot work.
    """

    def __call__(
        self, model: nn.Module, forget: Examples, retain: Examples, config: ConfigT, observe: Observe | None = None
    ) -> Unlearned:
        """The unlearned model and a record of what was done."""


def check_sets(forget: Examples, retain: Examples) -> None:
    """Raises InputError when there is nothing to forget or nothing to keep."""
    if not len(forget):
        raise InputError("the forget set is empty; accepted: a model trained with at least one spurious example")
    if not len(retain):
        raise InputError("the retain set is empty; accepted: a training set larger than its spurious examples")


def check_range(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Raises InputError unless ``low <= value <= high`` (``low < value`` when ``open_low``) and finite."""
    if not math.isfinite(value) or value > high or value < low or (open_low and value == low):
        bound = "above" if open_low else "at least"
        upper = "" if high == math.inf else f" and at most {high:g}"
        raise InputError(f"{name}={value} cannot be; accepted: a number {bound} {low:g}{upper}")


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy of the model in evaluation mode: batch-norm statistics fixed, dropout off."""
    return copy.deepcopy(model).eval()


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(model.parameters()).device
