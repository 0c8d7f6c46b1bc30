"""``CNN002``, a small convolutional network for 28×28 images (``SmallCNN`` of TRADES, Zhang et al. 2019)."""

from collections import OrderedDict

import torch
from torch import nn

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.errors import InputError
from rsc_mlflow.models.dropout import Dropout
from rsc_mlflow.models.initialize import default_linear_

SIZE = 28


def construct(image_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return two blocks of two unpadded 3×3 convolutions and a max-pool, then linear layers 1024-200-200-classes.

    The model maps float32 ``[N, C, 28, 28]`` to logits ``[N, classes]``.

    Raises:
        InputError: the images are not 28×28.
    """
    channels, height, width = image_shape
    if (height, width) != (SIZE, SIZE):
        raise InputError(
            f"CNN002 accepts images of {SIZE}×{SIZE} pixels only, but these have {height}×{width}. "
            "Use it with digits, mnist or fashion, or use an altResNet or VGG model for 32×32 images."
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for block, (inputs, outputs) in enumerate(((channels, 32), (32, 64))):
        first, second = 2 * block + 1, 2 * block + 2
        layers[f"conv{first}"] = nn.Conv2d(inputs, outputs, 3)
        layers[f"relu{first}"] = nn.ReLU()
        layers[f"conv{second}"] = nn.Conv2d(outputs, outputs, 3)
        layers[f"relu{second}"] = nn.ReLU()
        layers[f"pool{block + 1}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["hidden1"] = nn.Linear(64 * 4 * 4, 200)
    layers["relu5"] = nn.ReLU()
    layers["dropout"] = Dropout(0.5)
    layers["hidden2"] = nn.Linear(200, 200)
    layers["relu6"] = nn.ReLU()
    layers["output"] = nn.Linear(200, classes)
    return nn.Sequential(layers)


def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Initialize convolutions with Kaiming-normal weights (fan in) and zero biases, and the output layer with zeros.

    The hidden linear layers get PyTorch's default initialization.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear) and name == "output":
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            default_linear_(layer, generator)


ARCHITECTURES.register("CNN002", Architecture(construct, initialize, stackable=True))
