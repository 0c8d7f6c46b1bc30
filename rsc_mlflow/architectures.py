"""Model architectures by name.  Their files are in :mod:`rsc_mlflow.models`, which a look-up imports with PyTorch.

To add an architecture, write a file there that ends in ``ARCHITECTURES.register(NAME, Architecture(…))``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsc_mlflow.registries import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """How models of one architecture are made.

    Attributes:
        construct: (image shape ``(C, H, W)``, number of classes) → a module from float32 ``[N, C, H, W]`` in [0, 1] to
            logits ``[N, classes]``.
        initialize: fills all weights and buffers from a generator; None: ``construct`` has drawn the weights from
            PyTorch's global generator.
        stackable: whether many models train as one on every device; see
            :class:`rsc_mlflow.models.stacked.StackedModel`.  Others do so on a GPU, where
            :func:`rsc_mlflow.models.mappable` says that they can.
        normalized: whether inputs are normalized with CIFAR's mean and standard deviation inside the model.
        smallest_batch: examples that a batch must have in training; 2 where statistics of one example are undefined.
    """

    construct: "Callable[[tuple[int, int, int], int], nn.Module]"
    initialize: "Callable[[nn.Module, torch.Generator], None] | None" = None
    stackable: bool = False
    normalized: bool = False
    smallest_batch: int = 1


BUILTIN = (
    *("CNN002", "LargeMLP", "LargeMLPv2", "MLP", "MLPv2", "ResNet18", "ResNet18Norm02", "ResNet50", "ResNet50Norm02"),
    *("Vgg16", "Vgg16Norm02", "VggMLP", "altResNet20", "altResNet20Norm02", "altResNet32", "altResNet32Norm02"),
    *("altResNet110", "altResNet110Norm02"),
)
"""Names of the built-in architectures, for help texts: the registry itself takes PyTorch's seconds to fill."""
ARCHITECTURES = Registry[Architecture]("architecture", "rsc_mlflow.models")
