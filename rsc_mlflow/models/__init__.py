"""Functions that build models from the name of an architecture and the shape of the images.

Every model maps images, float32 ``[N, C, H, W]`` in [0, 1], to logits, float32 ``[N, classes]``.
"""

import logging
from functools import lru_cache

import torch
from torch import Tensor, nn

from rsc_mlflow.architectures import ARCHITECTURES, Architecture
from rsc_mlflow.errors import InputError, invalid_value
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
    """Return a new model on the CPU, in evaluation mode.

    Its weights depend only on ``generator``; the state of PyTorch's global generator does not change.  Before training,
    dropout layers need a generator; see :func:`set_dropout_generator`.

    Args:
        architecture: a registered name, e.g. ``altResNet20``.
        image_shape: (C, H, W).
        classes: number of classes.
        generator: draws the weights; on the CPU.
        augmentation: the augmentation in the model name; ``aug02`` and ``aug03`` add layers in front of the network.

    Raises:
        InputError: the architecture is unknown, or it or the augmentation does not accept images of this shape.
    """
    declared = ARCHITECTURES[architecture]
    if declared.initialize is None:
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        return _self_initialized(architecture, declared, image_shape, classes, seed, augmentation)
    model = build_empty(architecture, image_shape, classes, augmentation)
    with torch.no_grad():
        declared.initialize(model, generator)
    return model


def build_empty(
    architecture: str, image_shape: tuple[int, int, int], classes: int, augmentation: str | None = None
) -> nn.Module:
    """Return the model of :func:`build` with arbitrary weights and buffers, to load a state dict into.

    Raises:
        InputError: as for :func:`build`.
    """
    declared = ARCHITECTURES[architecture]
    _check(architecture, declared, image_shape, classes, augmentation)
    if declared.initialize is None:
        return _self_initialized(architecture, declared, image_shape, classes, 0, augmentation)
    shape = network_shape(augmentation, image_shape)
    network = without_storage(lambda: declared.construct(shape, classes))
    return with_preprocessing(augmentation, with_norm02(network) if declared.normalized else network).eval()


def n_parameters(model: nn.Module) -> int:
    """Return the number of parameters, without buffers such as batch-norm statistics."""
    return sum(parameter.numel() for parameter in model.parameters())


def stackable(architecture: str) -> bool:
    """Return whether :class:`StackedModel` can train many models of this architecture at once, on any device."""
    return ARCHITECTURES[architecture].stackable


@lru_cache(maxsize=64)
def mappable(architecture: str, image_shape: tuple[int, int, int], augmentation: str | None = None) -> bool:
    """Return whether :class:`MappedModel` can train many models of this architecture at once.

    This tries one training step of two models on PyTorch's meta device, which computes shapes only.
    """
    try:
        model = build_empty(architecture, image_shape, _TRIAL_CLASSES, augmentation).to("meta")
        stack = MappedModel([model, model], torch.device("meta"))
        images = torch.empty(2, _TRIAL_IMAGES, *image_shape, device="meta")
        stack.gradients(stack.forward(images, [torch.Generator(), torch.Generator()]).sum())
    except Exception as error:  # the code of a plug-in can raise anything
        _logger.debug("%s trains one model at a time (%s: %s)", architecture, type(error).__name__, error)
        return False
    return True


def trains_together(
    architecture: str, image_shape: tuple[int, int, int], augmentation: str | None, device: torch.device
) -> bool:
    """Return whether several models of this architecture are trained together on this device, because it is faster."""
    return stackable(architecture) or (device.type == "cuda" and mappable(architecture, image_shape, augmentation))


def _self_initialized(
    architecture: str,
    declared: Architecture,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    augmentation: str | None,
) -> nn.Module:
    """Return a model whose constructor initializes the weights, in evaluation mode, after checking its output's shape.

    Its :class:`torch.nn.Dropout` layers are replaced by :class:`Dropout`.
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
        raise InputError(f"{architecture} does not accept images of shape {tuple(image_shape)}: {reason}") from error
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"{architecture} returns {given} for 2 images. Expected logits of shape (2, {classes}).")
    return model


def _check(
    architecture: str,
    declared: Architecture,
    image_shape: tuple[int, int, int],
    classes: int,
    augmentation: str | None,
) -> None:
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise invalid_value("image_shape", tuple(image_shape), "(channels, height, width), each ≥ 1")
    if classes < 1:
        raise invalid_value("classes", classes, "an integer ≥ 1")
    if declared.normalized and image_shape[0] != 3:
        raise InputError(
            f"{architecture} normalizes three color channels, but the images have {image_shape[0]}. "
            f"Use {architecture.removesuffix(NORM02)} or a CIFAR dataset."
        )
    check_preprocessing(augmentation, architecture, image_shape, declared.normalized)
