"""The architectures of the contract, built from their name and the data's shape.

Every model takes float32 [N, C, H, W] in [0, 1] and gives logits float32 [N, classes].
"""

import torch
from torch import nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.models.cnn import construct_cnn002, initialise_cnn002
from rsc_mlflow.models.dropout import Dropout, set_dropout_generator
from rsc_mlflow.models.initialise import without_storage
from rsc_mlflow.models.mlp import HIDDEN, construct_mlp, initialise_mlp
from rsc_mlflow.models.normalise import with_norm02
from rsc_mlflow.models.resnet import BLOCKS, ResNet, initialise_resnet
from rsc_mlflow.models.torchvision_models import construct_torchvision, initialise_torchvision
from rsc_mlflow.names import ARCHITECTURES

__all__ = ["Dropout", "build", "build_empty", "n_parameters", "set_dropout_generator", "stackable"]

NORM02 = "Norm02"


def build(architecture: str, image_shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> nn.Module:
    """A new model on the CPU in evaluation mode, its weights drawn from ``generator`` and nothing else.

    ``image_shape`` is (C, H, W).  PyTorch's global generator is left as it was.  Dropout layers have no
    generator yet: see :func:`set_dropout_generator`.

    Raises:
        InputError: the architecture is unknown, or does not take images of this shape.
    """
    model = build_empty(architecture, image_shape, classes)
    plain = architecture.removesuffix(NORM02)
    with torch.no_grad():
        if plain in HIDDEN:
            initialise_mlp(model, plain, generator)
        elif plain in BLOCKS:
            initialise_resnet(model, generator)
        elif plain == "CNN002":
            initialise_cnn002(model, generator)
        else:
            initialise_torchvision(model, plain, generator)
    return model


def build_empty(architecture: str, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The same model with unfilled weights and buffers, for loading a state dict into.

    Raises:
        InputError: as :func:`build`.
    """
    _check(architecture, image_shape, classes)
    plain = architecture.removesuffix(NORM02)
    network = without_storage(lambda: _construct(plain, image_shape, classes))
    return (with_norm02(network) if architecture.endswith(NORM02) else network).eval()


def n_parameters(model: nn.Module) -> int:
    """Number of trainable numbers in the model."""
    return sum(parameter.numel() for parameter in model.parameters())


def stackable(architecture: str) -> bool:
    """Whether many models of this architecture can train as one: the MLPs and ``CNN002``."""
    return architecture in HIDDEN or architecture == "CNN002"


def _construct(plain: str, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    if plain in HIDDEN:
        return construct_mlp(plain, image_shape, classes)
    if plain in BLOCKS:
        return ResNet(BLOCKS[plain], image_shape[0], classes)
    if plain == "CNN002":
        return construct_cnn002(image_shape, classes)
    return construct_torchvision(plain, image_shape, classes)


def _check(architecture: str, image_shape: tuple[int, int, int], classes: int) -> None:
    if architecture not in ARCHITECTURES:
        raise InputError(f"unknown architecture {architecture!r}; accepted: {', '.join(ARCHITECTURES)}")
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise InputError(f"image_shape must be (channels, height, width), each at least 1; got {tuple(image_shape)}")
    if classes < 1:
        raise InputError(f"a model needs at least one class; got {classes}")
    if architecture.endswith(NORM02) and image_shape[0] != 3:
        raise InputError(
            f"{architecture} normalises three colour channels, got images with {image_shape[0]}; "
            f"use {architecture.removesuffix(NORM02)}, or a cifar data set"
        )
