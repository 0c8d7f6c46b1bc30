"""The CIFAR ResNets of He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.

The network has 6n + 2 layers: a 3×3 convolution with 16 channels, three stages of n basic blocks with 16, 32 and 64
channels (the second and third start with stride 2), global average pooling and one linear layer.  Shortcuts are
option A of the paper: where the shape changes, they subsample the image and pad the channels with zeros, so they have
no weights.
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.models.initialize import default_linear_, reset_norm_
from rsc_mlflow.models.normalize import NORM02

BLOCKS = {"altResNet20": 3, "altResNet32": 5, "altResNet110": 18}
"""Basic blocks per stage."""


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and an option-A shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs

    def shortcut(self, x: Tensor) -> Tensor:
        """Return ``x``, subsampled and padded with zero channels (half on each side) where the shape changes."""
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, ``[N, outputs, ⌈H/stride⌉, ⌈W/stride⌉]``, for ``x``, ``[N, inputs, H, W]``."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """A CIFAR ResNet with ``blocks`` basic blocks per stage, for images of any size (32×32 in the paper)."""

    def __init__(self, blocks: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.stage1 = _stage(16, 16, blocks, 1)
        self.stage2 = _stage(16, 32, blocks, 2)
        self.stage3 = _stage(32, 64, blocks, 2)
        self.output = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[N, classes]`` for ``x``, float32 ``[N, C, H, W]``."""
        out = F.relu(self.norm(self.conv(x)))
        out = self.stage3(self.stage2(self.stage1(out)))
        logits: Tensor = self.output(out.mean(dim=(2, 3)))
        return logits


def construct(blocks: int, image_shape: tuple[int, int, int], classes: int) -> ResNet:
    """Return the network for images of this shape, (C, H, W)."""
    return ResNet(blocks, image_shape[0], classes)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(OrderedDict((f"block{i}", block) for i, block in enumerate([first, *rest], 1)))


def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw Kaiming-normal weights (fan in); the linear layer's bias and batch norm get PyTorch's default values."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
        elif isinstance(layer, nn.Linear):
            default_linear_(layer, generator)
            nn.init.kaiming_normal_(layer.weight, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            reset_norm_(layer)


for _name, _blocks in BLOCKS.items():
    for _suffix in ("", NORM02):
        _architecture = Architecture(partial(construct, _blocks), initialize, normalized=bool(_suffix))
        ARCHITECTURES.register(_name + _suffix, _architecture)
