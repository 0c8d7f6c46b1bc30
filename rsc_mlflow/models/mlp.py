"""Multi-layer perceptrons: ``MLP``, ``MLPv2``, ``LargeMLP``, ``LargeMLPv2`` and ``VggMLP``."""

import math
from collections import OrderedDict

import torch
from torch import nn

from rsc_mlflow.models.dropout import Dropout
from rsc_mlflow.models.initialise import default_linear_

HIDDEN: dict[str, tuple[int, ...]] = {
    "MLP": (256,),
    "MLPv2": (256, 256),
    "LargeMLP": (256, 256, 256),
    "LargeMLPv2": (512, 512, 512),
    "VggMLP": (4096, 4096),
}
"""Widths of the hidden layers."""

VGG_DROPOUT = 0.5
VGG_STD = 0.01


def construct_mlp(architecture: str, image_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Flatten, then ``hidden1 … hiddenL`` with ReLU (and dropout in ``VggMLP``), then ``output``.

    Input float32 [N, C, H, W] of any size; output logits [N, classes].
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = math.prod(image_shape)
    for number, hidden in enumerate(HIDDEN[architecture], 1):
        layers[f"hidden{number}"] = nn.Linear(width, hidden)
        layers[f"relu{number}"] = nn.ReLU()
        if architecture == "VggMLP":
            layers[f"dropout{number}"] = Dropout(VGG_DROPOUT)
        width = hidden
    layers["output"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


def initialise_mlp(model: nn.Module, architecture: str, generator: torch.Generator) -> None:
    """PyTorch's default for linear layers; ``VggMLP`` as VGG's classifier: weights N(0, 0.01²), biases 0."""
    for layer in model.modules():
        if not isinstance(layer, nn.Linear):
            continue
        if architecture == "VggMLP":
            nn.init.normal_(layer.weight, 0, VGG_STD, generator=generator)
            nn.init.zeros_(layer.bias)
        else:
            default_linear_(layer, generator)
