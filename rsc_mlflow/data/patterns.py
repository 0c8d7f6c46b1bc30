"""The paper's seven spurious patterns, as functions of an image (paper, section 3: S1-S3, R1-R3 and Core).

A *patch* sets a rectangle to 1 in every channel.  *Noise* adds a fixed image that is uniform in [0, 1] per
pixel and channel, scaled by α, and clips: ``clip(x + α·U, 0, 1)``.  All examples of a data set, training and
test, carry the same noise image; it follows from the pattern seed alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsc_mlflow.errors import InputError
from rsc_mlflow.names import MAX_SEED, PATTERNS

_BLOCK = 2048  # images patterned at once: bounds the float64 temporaries


@dataclass(frozen=True)
class Patch:
    """Pixels ``[top, bottom) × [left, right)`` become 1."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Noise:
    """``alpha`` times one uniform noise image is added and the sum clipped to [0, 1]."""

    alpha: float


DEFINITIONS: dict[str, Patch | Noise] = {
    "v1": Patch(0, 1, 0, 1),
    "v3": Patch(0, 3, 0, 3),
    "v8": Patch(0, 5, 0, 5),
    "v18": Noise(0.25),
    "v19": Noise(0.5),
    "v20": Noise(1.0),
    "v30": Patch(3, 25, 13, 16),
}
"""Pattern name → what it does to an image."""


def depends_on_seed(pattern: str) -> bool:
    """Whether the pattern is drawn: the same patch serves every seed."""
    return isinstance(DEFINITIONS.get(pattern), Noise)


def noise_image(image_shape: tuple[int, int, int], seed: int) -> Tensor:
    """The uniform noise of one seed, float64 ``[C, H, W]``.

    Drawn as the paper's code draws it, ``RandomState(seed).rand(H, W, C)``, then brought to channels first.

    Raises:
        InputError: the seed is not in 0 … 2³²-1.
    """
    check_seed(seed)
    channels, height, width = image_shape
    drawn = np.random.RandomState(seed).rand(height, width, channels)
    return torch.from_numpy(np.ascontiguousarray(drawn.transpose(2, 0, 1)))


def apply_pattern(pattern: str, images: Tensor, seed: int) -> Tensor:
    """The images with the pattern on them: a new tensor, the input is left as it is.

    Args:
        pattern: one of ``rsc_mlflow.names.PATTERNS``.
        images: float32 ``[N, C, H, W]`` in [0, 1].
        seed: of the noise; patches do not depend on it.

    Noise is added in float64 (float32 image promoted + α·U), clipped in float64 and rounded to float32 once, at
    the end: what the paper's numpy code does when it assigns the sum back to its float32 array.

    Raises:
        InputError: unknown pattern, a bad seed, or images too small to hold the patch.
    """
    definition = _definition(pattern, images)
    if isinstance(definition, Patch):
        patterned = images.clone()
        patterned[:, :, definition.top : definition.bottom, definition.left : definition.right] = 1.0
        return patterned
    added = definition.alpha * noise_image(_image_shape(images), seed).to(images.device)
    patterned = torch.empty_like(images)
    for block, target in zip(_blocks(images), _blocks(patterned), strict=True):
        target.copy_((block.double() + added).clamp_(0.0, 1.0))
    return patterned


def pattern_norm(pattern: str, images: Tensor, seed: int) -> float:
    """Mean ℓ2 norm of ``apply_pattern(x) - x`` over the images ``[N, C, H, W]``; summed in float64.

    Raises:
        InputError: as :func:`apply_pattern`, or there are no images to average over.
    """
    if len(images) == 0:
        raise InputError("the mean norm of a pattern needs at least one image; got none")
    total = 0.0
    for block in _blocks(images):
        difference = apply_pattern(pattern, block, seed).double() - block.double()
        total += difference.flatten(1).norm(dim=1).sum().item()
    return total / len(images)


def check_seed(seed: int) -> None:
    """Refuse a seed that ``RandomState`` would not take.

    Raises:
        InputError: the seed is not in 0 … 2³²-1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed {seed} is out of range; accepted: 0 to {MAX_SEED}")


def _definition(pattern: str, images: Tensor) -> Patch | Noise:
    definition = DEFINITIONS.get(pattern)
    if definition is None:
        raise InputError(f"unknown pattern {pattern!r}; accepted: {', '.join(PATTERNS)}")
    _, height, width = _image_shape(images)
    if isinstance(definition, Patch) and (definition.bottom > height or definition.right > width):
        raise InputError(
            f"pattern {pattern} needs images of at least {definition.bottom}x{definition.right} pixels; "
            f"these have {height}x{width}"
        )
    return definition


def _image_shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width


def _blocks(images: Tensor) -> Iterator[Tensor]:
    yield from (images[start : start + _BLOCK] for start in range(0, len(images), _BLOCK))
