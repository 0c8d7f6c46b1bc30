"""``aug02`` and ``aug03``: what they do to an image, in training and testing alike, is done inside the model.

So the model takes images in [0, 1] like any other, and a pattern is added before, as in the paper's code.
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
    """The shorter side resized to 256 pixels (bilinear, antialiased), then the middle 224×224, as in torchvision."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` float32 [N, C, H, W] → [N, C, 224, 224]."""
        height, width = x.shape[-2:]
        shorter = min(height, width)
        size = [RESIZED * height // shorter, RESIZED * width // shorter]
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        top, left = (round((side - CROPPED) / 2) for side in size)
        return x[..., top : top + CROPPED, left : left + CROPPED]


def network_shape(augmentation: str | None, image_shape: Shape) -> Shape:
    """Shape of what the network behind the preprocessing gets of such an image."""
    return (image_shape[0], CROPPED, CROPPED) if augmentation == "aug02" else image_shape


def with_preprocessing(augmentation: str | None, network: nn.Module) -> nn.Module:
    """``network`` behind what the augmentation does in testing too; a plain sequence of layers stays one."""
    if augmentation not in ("aug02", "aug03"):
        return network
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if augmentation == "aug02":
        layers["resize"] = ResizeAndCrop()
    layers["imagenet"] = Normalize(IMAGENET_MEAN, IMAGENET_STD)
    layers.update(network.named_children() if isinstance(network, nn.Sequential) else [("network", network)])
    return nn.Sequential(layers)


def check_preprocessing(augmentation: str | None, architecture: str, image_shape: Shape, normalized: bool) -> None:
    """Whether the augmentation makes sense for these images and this network.

    Raises:
        InputError: it normalizes three color channels, and there is another number; or the network does it again.
    """
    if augmentation not in ("aug02", "aug03"):
        return
    if image_shape[0] != 3:
        raise InputError(
            f"augmentation {augmentation} normalizes three color channels, got images with {image_shape[0]}; "
            f"leave {augmentation}- out of the model name, or use a cifar dataset"
        )
    if normalized:
        raise InputError(
            f"augmentation {augmentation} normalizes images, and {architecture} would do it a second time; "
            f"leave {augmentation}- out of the model name, or use {architecture.removesuffix('Norm02')}"
        )


def enlargement(module: nn.Module, image_shape: tuple[int, ...]) -> int:
    """How many times more pixels the network works on than an image has; at least 1."""
    if not any(isinstance(layer, ResizeAndCrop) for layer in module.children()):
        return 1
    return max(1, CROPPED * CROPPED // (image_shape[-2] * image_shape[-1]))
