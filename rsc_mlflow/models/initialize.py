"""Weight initialization from an explicit generator.

PyTorch's own layers draw their weights from the global generator while they are constructed.  Here
models are constructed without storage (:func:`without_storage`), which draws nothing, and each
architecture then fills every tensor itself from the generator it was given.
"""

import math
from collections.abc import Callable

import torch
from torch import nn


def without_storage(construct: Callable[[], nn.Module]) -> nn.Module:
    """The module that ``construct`` makes, on the CPU, parameters and buffers allocated but not filled.

    The global generator is neither read nor moved.
    """
    with torch.device("meta"):
        module = construct()
    return module.to_empty(device="cpu")


def with_global_seed(construct: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The module that ``construct`` makes on the CPU while PyTorch's global generator starts at ``seed``.

    The global generator is as it was afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return construct()


def default_linear_(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """PyTorch's default: weight and bias uniform in ±1/√fan_in."""
    fan_in = layer.weight[0].numel()
    bound = 1 / math.sqrt(fan_in)
    for values in layer.parameters():  # weight, then bias
        nn.init.uniform_(values, -bound, bound, generator=generator)


def reset_norm_(layer: nn.BatchNorm2d) -> None:
    """Scale 1, shift 0, running statistics as new (nothing is drawn)."""
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.reset_running_stats()
