"""Multi-layer perceptrons: ``MLP``, ``MLPv2``, ``LargeMLP``, ``LargeMLPv2`` and ``VggMLP``."""

import math
from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.models.dropout import Dropout
from rsc_mlflow.models.initialize import default_linear_

HIDDEN: dict[str, tuple[int, ...]] = {
    "MLP": (256,),
    "MLPv2": (256, 256),
    "LargeMLP": (256, 256, 256),
    "LargeMLPv2": (512, 512, 512),
}
"""Widths of the hidden layers of the MLPs without dropout."""

VGG_DROPOUT = 0.5
VGG_STD = 0.01


def construct(
    hidden_widths: tuple[int, ...], dropout: float, image_shape: tuple[int, int, int], classes: int
) -> nn.Sequential:
    """Return an MLP for images of this shape: Flatten, linear layers ``hidden1``, ``hidden2``, … and ``output``.

    Each hidden layer is followed by ReLU and, if its probability is not 0, dropout.  The model maps float32
    ``[N, C, H, W]`` to logits ``[N, classes]``.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = math.prod(image_shape)
    for number, hidden in enumerate(hidden_widths, 1):
        layers[f"hidden{number}"] = nn.Linear(width, hidden)
        layers[f"relu{number}"] = nn.ReLU()
        if dropout:
            layers[f"dropout{number}"] = Dropout(dropout)
        width = hidden
    layers["output"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights and biases as PyTorch does by default."""
    for layer in _linear_layers(model):
        default_linear_(layer, generator)


def initialize_vgg(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights from N(0, 0.01²) and set biases to 0, as in VGG's classifier."""
    for layer in _linear_layers(model):
        nn.init.normal_(layer.weight, 0, VGG_STD, generator=generator)
        nn.init.zeros_(layer.bias)


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


for _name, _widths in HIDDEN.items():
    ARCHITECTURES.register(_name, Architecture(partial(construct, _widths, 0.0), initialize, stackable=True))
ARCHITECTURES.register(
    "VggMLP", Architecture(partial(construct, (4096, 4096), VGG_DROPOUT), initialize_vgg, stackable=True)
)
