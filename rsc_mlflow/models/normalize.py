"""Input normalization as a layer of the model (architectures ``…Norm02``)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

NORM02 = "Norm02"
"""Suffix of the names of these architectures."""
NORM02_MEAN = (0.4914, 0.4822, 0.4465)
NORM02_STD = (0.2023, 0.1994, 0.2010)


class Normalize(nn.Module):
    """Computes ``(x - mean) / std`` per channel.  Mean and std are constants, which the state dict does not contain."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...] = NORM02_MEAN, std: tuple[float, ...] = NORM02_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, float32 ``[N, 3, H, W]`` in [0, 1], normalized."""
        return (x - self.mean) / self.std


def with_norm02(network: nn.Module) -> nn.Sequential:
    """Return :class:`Normalize` followed by ``network``, whose state-dict keys get the prefix ``network.``."""
    return nn.Sequential(OrderedDict(normalize=Normalize(), network=network))
