"""The registry of model architectures.

The first look-up imports PyTorch and the modules of :mod:`rsc_mlflow.models`, which register the architectures.  To add
one, add a module there that calls ``ARCHITECTURES.register(NAME, Architecture(…))``.
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
    """How to construct and initialize models of one architecture.

    Attributes:
        construct: called with the image shape ``(C, H, W)`` and the number of classes; returns a module that maps
            float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, classes]``.
        initialize: initializes all weights and buffers from a generator; None if ``construct`` initializes them from
            PyTorch's global generator.
        stackable: whether many models can be trained together on every device; see
            :class:`rsc_mlflow.models.stacked.StackedModel`.  On a GPU, other models can be trained together if
            :func:`rsc_mlflow.models.mappable` returns True.
        normalized: whether :func:`rsc_mlflow.models.build` adds a first layer that normalizes images with CIFAR-10's
            mean and standard deviation.
        smallest_batch: minimum number of examples in a training batch; 2 if batch statistics of one example are
            undefined.
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
"""Names of the built-in architectures, for help texts.  Filling the registry imports PyTorch, which takes seconds."""
ARCHITECTURES = Registry[Architecture]("architecture", "rsc_mlflow.models")
