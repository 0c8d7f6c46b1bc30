"""torchvision's ``Vgg16``, ``ResNet18`` and ``ResNet50``, untrained, with weights from a given generator.

Two things differ from torchvision's: dropout draws from its own generator, and the first convolution
takes as many channels as the images have (3 in torchvision).
"""

from typing import Any

import torch
from torch import nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.models.dropout import replace_dropouts
from rsc_mlflow.models.initialise import default_linear_, reset_norm_

VGG_SMALLEST = 32


def construct_torchvision(architecture: str, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network without weights.  Input float32 [N, C, H, W]; output logits [N, classes].

    Raises:
        InputError: ``Vgg16`` with images below 32×32, which its five poolings would reduce to nothing.
    """
    with torch.device("cpu"):  # what is made in importing it has storage, whatever device the caller constructs on
        from torchvision import models  # takes a second and a half, which nothing else needs

    channels, height, width = image_shape
    if architecture == "Vgg16":
        if min(height, width) < VGG_SMALLEST:
            raise InputError(
                f"Vgg16 takes images of at least {VGG_SMALLEST}×{VGG_SMALLEST} pixels, got {height}×{width}; "
                "use it with cifar10 or cifar100, or choose an MLP or CNN002 for 28×28 images"
            )
        vgg: Any = models.vgg16(weights=None, num_classes=classes, init_weights=False)
        if channels != 3:
            vgg.features[0] = nn.Conv2d(channels, 64, 3, padding=1)
        replace_dropouts(vgg)
        model: nn.Module = vgg
        return model
    resnet = {"ResNet18": models.resnet18, "ResNet50": models.resnet50}[architecture]
    model = resnet(weights=None, num_classes=classes)
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return model


def initialise_torchvision(model: nn.Module, architecture: str, generator: torch.Generator) -> None:
    """torchvision's own scheme: Kaiming-normal convolutions (fan out); linear layers N(0, 0.01²) in VGG."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            reset_norm_(layer)
        elif isinstance(layer, nn.Linear) and architecture == "Vgg16":
            nn.init.normal_(layer.weight, 0, 0.01, generator=generator)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            default_linear_(layer, generator)
