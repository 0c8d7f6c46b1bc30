"""Images on a GPU: each set once per process, as bytes where these give its values exactly."""

from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_COPIES: MutableMapping[Tensor, dict[torch.device, tuple[int, Tensor]]] = WeakTensorKeyDictionary()
"""Images on the CPU → device → (their version, the copy); a copy lives as long as the images."""


def on_device(images: Tensor, device: torch.device) -> Tensor:
    """Return images [N, C, H, W] on a device: the same tensor if it is on it, else one copy for all callers.

    The copy is uint8 if the images are ``uint8 / 255``, else float32; see :func:`as_floats` and :func:`gather`.
    """
    if images.device == device:
        return images
    copies = _COPIES.setdefault(images, {})
    if device not in copies or copies[device][0] != images._version:
        copies[device] = images._version, as_bytes(images.to(device))
    return copies[device][1]


def as_bytes(images: Tensor) -> Tensor:
    """Return float32 images as uint8 if :func:`as_floats` gives them back bit for bit, else as they are."""
    rounded = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return rounded if torch.equal(as_floats(rounded), images) else images


def as_floats(images: Tensor, out: Tensor | None = None) -> Tensor:
    """Return uint8 images as float32 ``value / 255``, and float32 images as they are."""
    if images.dtype != torch.uint8:
        return images
    # Not a Python number: by these CUDA divides as it multiplies with the inverse, which rounds otherwise.
    return torch.div(images, torch.full((), 255.0, device=images.device), out=out)


def gather(images: Tensor, indices: Tensor, out: Tensor) -> None:
    """Write the images [N, D] at ``indices`` [n] to ``out``, float32 [n, D]."""
    if images.dtype == torch.uint8:
        as_floats(images.index_select(0, indices), out)
    else:
        torch.index_select(images, 0, indices, out=out)
