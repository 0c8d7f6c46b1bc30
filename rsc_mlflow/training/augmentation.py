"""The augmentation ``aug01`` of training images: a random crop of the padded image and a random horizontal flip."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rsc_mlflow.errors import InputError

SIZE = 32
PADDING = 4


def check_aug01(augmentation: str | None, image_shape: tuple[int, int, int]) -> None:
    """Check that images are 32×32 if the augmentation is ``aug01``.

    Raises:
        InputError: they are not.
    """
    if augmentation == "aug01" and tuple(image_shape[1:]) != (SIZE, SIZE):
        raise InputError(
            f"The augmentation aug01 needs images of {SIZE}×{SIZE} pixels, got {image_shape[1]}×{image_shape[2]}. "
            "Remove aug01- from the model name, or use cifar10 or cifar100."
        )


def aug01(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad each image by 4 zeros on every side, crop a random 32×32 window, and flip it with probability 1/2.

    Args:
        images: float32 ``[B, C, 32, 32]``; not modified.
        generator: generator on the device of the images; it draws 2B offsets from 0 to 8, then B flips.

    Returns:
        A new tensor ``[B, C, 32, 32]``.
    """
    count, channels = images.shape[:2]
    device = images.device
    offsets = torch.randint(2 * PADDING + 1, (2, count, 1), generator=generator, device=device)
    mirrored = torch.randint(2, (count, 1), generator=generator, device=device)
    steps = torch.arange(SIZE, device=device)
    rows = offsets[0] + steps  # [B, 32]
    columns = offsets[1] + torch.where(mirrored == 1, SIZE - 1 - steps, steps)  # [B, 32]
    padded = F.pad(images, (PADDING,) * 4)  # [B, C, 40, 40]
    side = SIZE + 2 * PADDING
    where = (rows.unsqueeze(2) * side + columns.unsqueeze(1)).view(count, 1, -1)  # [B, 1, 1024]
    cut = padded.flatten(2).gather(2, where.expand(-1, channels, -1))
    return cut.view_as(images)
