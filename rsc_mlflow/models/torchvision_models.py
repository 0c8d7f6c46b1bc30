"""Torchvision's ``Vgg16``, ``ResNet18`` and ``ResNet50``, untrained, with weights drawn from a given generator.

They differ from torchvision's models in two ways: dropout draws from a given generator, and the first convolution has
as many input channels as the images (3 in torchvision).
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.errors import InputError
from rsc_mlflow.models.dropout import replace_dropouts
from rsc_mlflow.models.initialize import default_linear_, reset_norm_
from rsc_mlflow.models.normalize import NORM02

VGG_SMALLEST = 32


def construct_vgg(image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return ``Vgg16``, which maps float32 ``[N, C, H, W]`` to logits; :func:`initialize_vgg` draws its weights.

    Raises:
        InputError: the images are smaller than 32×32, too small for the five pooling layers.
    """
    channels, height, width = image_shape
    if min(height, width) < VGG_SMALLEST:
        raise InputError(
            f"Vgg16 needs images of at least {VGG_SMALLEST}×{VGG_SMALLEST} pixels, but these have {height}×{width}. "
            "Use it with cifar10 or cifar100, or use an MLP or CNN002 for 28×28 images."
        )
    vgg: Any = _torchvision_models().vgg16(weights=None, num_classes=classes, init_weights=False)
    if channels != 3:
        vgg.features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    replace_dropouts(vgg)
    model: nn.Module = vgg
    return model


def construct_resnet(name: str, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return ``resnet18`` or ``resnet50``, which maps float32 ``[N, C, H, W]`` to logits.

    :func:`initialize_resnet` draws its weights.
    """
    model: nn.Module = getattr(_torchvision_models(), name)(weights=None, num_classes=classes)
    if image_shape[0] != 3:
        model.conv1 = nn.Conv2d(image_shape[0], 64, 7, stride=2, padding=3, bias=False)
    return model


def _torchvision_models() -> Any:
    """Return ``torchvision.models``, imported here because the import takes 1.5 seconds."""
    with torch.device("cpu"):  # tensors made during the import need storage, also if the caller constructs on "meta"
        from torchvision import models

    return models


def initialize_vgg(model: nn.Module, generator: torch.Generator) -> None:
    """Initialize as torchvision does: convolutions Kaiming-normal (fan out), linear layers N(0, 0.01²), biases 0."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            _kaiming(layer, generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01, generator=generator)
            nn.init.zeros_(layer.bias)


def initialize_resnet(model: nn.Module, generator: torch.Generator) -> None:
    """Initialize as torchvision does: convolutions Kaiming-normal (fan out), all else as PyTorch does by default."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            _kaiming(layer, generator)
        elif isinstance(layer, nn.BatchNorm2d):
            reset_norm_(layer)
        elif isinstance(layer, nn.Linear):
            default_linear_(layer, generator)


def _kaiming(layer: nn.Conv2d, generator: torch.Generator) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


for _suffix in ("", NORM02):
    _normalized = bool(_suffix)
    ARCHITECTURES.register(f"Vgg16{_suffix}", Architecture(construct_vgg, initialize_vgg, normalized=_normalized))
    for _name in ("ResNet18", "ResNet50"):
        _architecture = Architecture(
            partial(construct_resnet, _name.lower()), initialize_resnet, normalized=_normalized, smallest_batch=2
        )
        ARCHITECTURES.register(_name + _suffix, _architecture)
