"""The preprocessing of ``aug02`` and ``aug03``, which is part of the model, in training and in testing.

The model therefore accepts images in [0, 1] like any other, and a pattern is added before the preprocessing, as in the
paper's code.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from rsc_mlflow.errors import InputError
from rsc_mlflow.models.normalize import Normalize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZED, CROPPED = 256, 224

Shape = tuple[int, int, int]


class ResizeAndCrop(nn.Module):
    """Resizes the shorter side to 256 pixels (bilinear, antialiased) and crops the center, 224×224, as torchvision."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, float32 ``[N, C, H, W]``, resized and cropped to ``[N, C, 224, 224]``."""
        height, width = x.shape[-2:]
        shorter = min(height, width)
        size = [RESIZED * height // shorter, RESIZED * width // shorter]
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        top, left = (round((side - CROPPED) / 2) for side in size)
        return x[..., top : top + CROPPED, left : left + CROPPED]


def network_shape(augmentation: str | None, image_shape: Shape) -> Shape:
    """Return the shape (C, H, W) of an image after the preprocessing."""
    return (image_shape[0], CROPPED, CROPPED) if augmentation == "aug02" else image_shape


def with_preprocessing(augmentation: str | None, network: nn.Module) -> nn.Module:
    """Return the preprocessing followed by ``network``; if that is an ``nn.Sequential``, as one ``nn.Sequential``."""
    if augmentation not in ("aug02", "aug03"):
        return network
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if augmentation == "aug02":
        layers["resize"] = ResizeAndCrop()
    layers["imagenet"] = Normalize(IMAGENET_MEAN, IMAGENET_STD)
    layers.update(network.named_children() if isinstance(network, nn.Sequential) else [("network", network)])
    return nn.Sequential(layers)


def check_preprocessing(augmentation: str | None, architecture: str, image_shape: Shape, normalized: bool) -> None:
    """Check that the preprocessing fits these images and this network.

    Raises:
        InputError: the images do not have three color channels, or the network normalizes its inputs, too.
    """
    if augmentation not in ("aug02", "aug03"):
        return
    if image_shape[0] != 3:
        raise InputError(
            f"Augmentation {augmentation} normalizes three color channels, but the images have {image_shape[0]}. "
            f"Remove {augmentation}- from the model name or use a CIFAR dataset."
        )
    if normalized:
        raise InputError(
            f"Augmentation {augmentation} and {architecture} both normalize the images. "
            f"Remove {augmentation}- from the model name or use {architecture.removesuffix('Norm02')}."
        )


def enlargement(module: nn.Module, image_shape: tuple[int, ...]) -> int:
    """Return the factor by which the preprocessing increases the number of pixels, rounded down; at least 1."""
    if not any(isinstance(layer, ResizeAndCrop) for layer in module.children()):
        return 1
    return max(1, CROPPED * CROPPED // (image_shape[-2] * image_shape[-1]))
