"""Weight initialization from an explicit generator.

PyTorch's layers draw their weights from the global generator when they are constructed.  Here, models are constructed
without drawing weights (:func:`without_storage`), and each architecture then fills all tensors from a given generator.
"""

import math
from collections.abc import Callable

import torch
from torch import nn


def without_storage(construct: Callable[[], nn.Module]) -> nn.Module:
    """Return the module that ``construct`` returns, on the CPU, with uninitialized parameters and buffers.

    It is constructed on PyTorch's meta device, so the global generator is not used.
    """
    with torch.device("meta"):
        module = construct()
    return module.to_empty(device="cpu")


def with_global_seed(construct: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return the module that ``construct`` returns while PyTorch's global CPU generator is seeded with ``seed``.

    Afterwards, the state of the global generator is restored.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return construct()


def default_linear_(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Draw weight and bias uniformly from [-1/√fan_in, 1/√fan_in], as PyTorch does by default."""
    fan_in = layer.weight[0].numel()
    bound = 1 / math.sqrt(fan_in)
    for values in layer.parameters():  # weight, then bias
        nn.init.uniform_(values, -bound, bound, generator=generator)


def reset_norm_(layer: nn.BatchNorm2d) -> None:
    """Set scale to 1, shift to 0 and the running statistics to their initial values."""
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.reset_running_stats()
