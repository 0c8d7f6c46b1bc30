"""The paper's seven patterns (section 3): S1-S3 and Co set a rectangle to 1, R1-R3 add noise.

R1-R3 add the same noise image to all training and test examples of a dataset; the pattern seed determines it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsc_mlflow.patterns import PATTERNS, Pattern

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 2048
"""Number of images processed at a time, which limits the size of temporary float64 tensors."""


@dataclass(frozen=True)
class Patch:
    """A pattern that sets the pixels ``[top, bottom) × [left, right)`` to 1 in all channels."""

    top: int
    bottom: int
    left: int
    right: int

    def __call__(self, images: "Tensor", seed: int) -> "Tensor":
        """See :data:`rsc_mlflow.patterns.Apply`."""
        patterned = images.clone()
        patterned[:, :, self.top : self.bottom, self.left : self.right] = 1.0
        return patterned


@dataclass(frozen=True)
class Noise:
    """A pattern that adds noise: ``clip(x + alpha·U, 0, 1)``, where U is one image of uniform noise in [0, 1).

    The sum is computed and clipped in float64 and then rounded to float32.  The paper's numpy code does the same when
    it assigns the sum to a float32 array.
    """

    alpha: float

    def __call__(self, images: "Tensor", seed: int) -> "Tensor":
        """See :data:`rsc_mlflow.patterns.Apply`."""
        channels, height, width = images.shape[1:]
        added = self.alpha * noise_image((channels, height, width), seed).to(images.device)
        patterned = images.new_empty(images.shape)
        for block, target in zip(blocks(images), blocks(patterned), strict=True):
            target.copy_((block.double() + added).clamp_(0.0, 1.0))
        return patterned


def noise_image(image_shape: tuple[int, int, int], seed: int) -> "Tensor":
    """Return the uniform noise in [0, 1) for a seed from 0 to 2³²-1, float64 ``[C, H, W]``.

    It is drawn as in the paper's code, ``RandomState(seed).rand(H, W, C)``, then transposed to channels first.
    """
    import torch

    channels, height, width = image_shape
    drawn = np.random.RandomState(seed).rand(height, width, channels)
    return torch.from_numpy(np.ascontiguousarray(drawn.transpose(2, 0, 1)))


def blocks(images: "Tensor") -> Iterator["Tensor"]:
    """Yield views of at most :data:`BLOCK` images each."""
    yield from (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))


def _patch(name: str, title: str, patch: Patch) -> None:
    PATTERNS.register(name, Pattern(patch, title, smallest=(patch.bottom, patch.right)))


def _noise(name: str, title: str, alpha: float) -> None:
    PATTERNS.register(name, Pattern(Noise(alpha), title, depends_on_seed=True))


_patch("v1", "S1", Patch(0, 1, 0, 1))
_patch("v3", "S2", Patch(0, 3, 0, 3))
_patch("v8", "S3", Patch(0, 5, 0, 5))
_noise("v18", "R1", 0.25)
_noise("v19", "R2", 0.5)
_noise("v20", "R3", 1.0)
_patch("v30", "Co", Patch(3, 25, 13, 16))
