"""Copies of images and labels on a GPU, one per set and process; images as bytes if these represent them exactly."""

from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_COPIES: MutableMapping[Tensor, dict[torch.device, tuple[int, Tensor]]] = WeakTensorKeyDictionary()
"""Images or labels on the CPU → device → (version of the tensor, its copy).  A copy lives as long as the tensor."""


def on_device(data: Tensor, device: torch.device) -> Tensor:
    """Return images ``[N, C, H, W]`` or labels ``[N]`` on a device.

    A tensor that is on the device is returned as it is.  Otherwise all callers share one copy.  Images are copied as
    uint8 if they are ``uint8 / 255``, else as float32; see :func:`as_floats` and :func:`gather`.  Labels keep their
    type.
    """
    if data.device == device:
        return data
    copies = _COPIES.setdefault(data, {})
    if device not in copies or copies[device][0] != data._version:
        copy = data.to(device)
        copies[device] = data._version, as_bytes(copy) if copy.is_floating_point() else copy
    return copies[device][1]


def as_bytes(images: Tensor) -> Tensor:
    """Return float32 images as uint8 if :func:`as_floats` restores them bit for bit, else as they are."""
    rounded = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return rounded if torch.equal(as_floats(rounded), images) else images


def as_floats(images: Tensor, out: Tensor | None = None) -> Tensor:
    """Return uint8 images as float32 ``value / 255`` (in ``out``, if given), and float32 images as they are."""
    if images.dtype != torch.uint8:
        return images
    # The divisor is a tensor, because CUDA divides by a Python number by multiplying with its rounded inverse.
    return torch.div(images, torch.full((), 255.0, device=images.device), out=out)


def gather(images: Tensor, indices: Tensor, out: Tensor) -> None:
    """Write the images ``[N, D]`` at ``indices`` ``[n]`` to ``out``, float32 ``[n, D]``."""
    if images.dtype == torch.uint8:
        as_floats(images.index_select(0, indices), out)
    else:
        torch.index_select(images, 0, indices, out=out)
