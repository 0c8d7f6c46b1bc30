"""Models built from an architecture's name and the data's shape.

Every model takes float32 [N, C, H, W] in [0, 1] and gives logits float32 [N, classes].
"""

import logging
from functools import lru_cache

import torch
from torch import Tensor, nn

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.errors import InputError
from rsc_mlflow.models.dropout import Dropout, replace_dropouts, set_dropout_generator
from rsc_mlflow.models.initialize import with_global_seed, without_storage
from rsc_mlflow.models.mapped import MappedModel
from rsc_mlflow.models.normalize import NORM02, with_norm02
from rsc_mlflow.models.preprocess import check_preprocessing, enlargement, network_shape, with_preprocessing

__all__ = [
    "Dropout",
    "build",
    "build_empty",
    "enlargement",
    "mappable",
    "n_parameters",
    "set_dropout_generator",
    "stackable",
    "trains_together",
]

_TRIAL_CLASSES, _TRIAL_IMAGES = 3, 4
_logger = logging.getLogger(__name__)


def build(
    architecture: str,
    image_shape: tuple[int, int, int],
    classes: int,
    generator: torch.Generator,
    augmentation: str | None = None,
) -> nn.Module:
    """A new model on the CPU in evaluation mode, its weights drawn from ``generator`` and nothing else.

    ``image_shape`` is (C, H, W).  PyTorch's global generator is left as it was.  Dropout layers have no
    generator yet: see :func:`set_dropout_generator`.  ``augmentation`` is the name's: ``aug02`` and ``aug03`` are
    layers in front of the network.

    Raises:
        InputError: the architecture is unknown, or it or the augmentation does not take images of this shape.
    """
    declared = ARCHITECTURES[architecture]
    if declared.initialize is None:
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        return _outside(architecture, declared, image_shape, classes, seed, augmentation)
    model = build_empty(architecture, image_shape, classes, augmentation)
    with torch.no_grad():
        declared.initialize(model, generator)
    return model


def build_empty(
    architecture: str, image_shape: tuple[int, int, int], classes: int, augmentation: str | None = None
) -> nn.Module:
    """The same model with any weights and buffers, for loading a state dict into.

    Raises:
        InputError: as :func:`build`.
    """
    declared = ARCHITECTURES[architecture]
    _check(architecture, declared, image_shape, classes, augmentation)
    if declared.initialize is None:
        return _outside(architecture, declared, image_shape, classes, 0, augmentation)
    shape = network_shape(augmentation, image_shape)
    network = without_storage(lambda: declared.construct(shape, classes))
    return with_preprocessing(augmentation, with_norm02(network) if declared.normalized else network).eval()


def n_parameters(model: nn.Module) -> int:
    """Number of trainable numbers in the model."""
    return sum(parameter.numel() for parameter in model.parameters())


def stackable(architecture: str) -> bool:
    """Whether many models of this architecture train faster as one on every device."""
    return ARCHITECTURES[architecture].stackable


@lru_cache(maxsize=64)
def mappable(architecture: str, image_shape: tuple[int, int, int], augmentation: str | None = None) -> bool:
    """Whether many models of this architecture can train as one, which on a GPU is faster for all that can.

    Found out by a step of two models on PyTorch's meta device, which computes shapes only.
    """
    try:
        model = build_empty(architecture, image_shape, _TRIAL_CLASSES, augmentation).to("meta")
        stack = MappedModel([model, model], torch.device("meta"))
        images = torch.empty(2, _TRIAL_IMAGES, *image_shape, device="meta")
        stack.gradients(stack.forward(images, [torch.Generator(), torch.Generator()]).sum())
    except Exception as error:  # whatever the code of a plug-in raises
        _logger.debug("%s trains one model at a time (%s: %s)", architecture, type(error).__name__, error)
        return False
    return True


def trains_together(
    architecture: str, image_shape: tuple[int, int, int], augmentation: str | None, device: torch.device
) -> bool:
    """Whether models of this architecture should train as one on this device."""
    return stackable(architecture) or (device.type == "cuda" and mappable(architecture, image_shape, augmentation))


def _outside(
    architecture: str,
    declared: Architecture,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    augmentation: str | None,
) -> nn.Module:
    """A model that draws its weights while it is constructed, in evaluation mode; its output's shape is checked.

    Its :class:`torch.nn.Dropout` layers draw from a generator of their own, as those of all models do.
    """
    _check(architecture, declared, image_shape, classes, augmentation)
    shape = network_shape(augmentation, image_shape)
    model = with_preprocessing(augmentation, with_global_seed(lambda: declared.construct(shape, classes), seed))
    replace_dropouts(model)
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *image_shape))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{architecture} does not take images of shape {tuple(image_shape)}: {reason}") from error
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"{architecture} gives {given} for 2 images; expected logits of shape (2, {classes})")
    return model


def _check(
    architecture: str,
    declared: Architecture,
    image_shape: tuple[int, int, int],
    classes: int,
    augmentation: str | None,
) -> None:
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise InputError(f"image_shape must be (channels, height, width), each at least 1; got {tuple(image_shape)}")
    if classes < 1:
        raise InputError(f"a model needs at least one class; got {classes}")
    if declared.normalized and image_shape[0] != 3:
        raise InputError(
            f"{architecture} normalizes three color channels, got images with {image_shape[0]}; "
            f"use {architecture.removesuffix(NORM02)}, or a cifar dataset"
        )
    check_preprocessing(augmentation, architecture, image_shape, declared.normalized)
