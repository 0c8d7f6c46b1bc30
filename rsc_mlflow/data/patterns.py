"""Functions that apply a pattern to images, with checks, and that compute how much it changes them."""

from torch import Tensor

from rsc_mlflow.errors import InputError, invalid_value
from rsc_mlflow.names import MAX_SEED
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.patterns.paper import blocks


def apply_pattern(pattern: str, images: Tensor, seed: int) -> Tensor:
    """Return new images with the pattern added, float32 ``[N, C, H, W]``.

    Args:
        pattern: one of ``rsc_mlflow.patterns.PATTERNS``.
        images: float32 ``[N, C, H, W]`` in [0, 1]; not modified.
        seed: seed of the noise, 0 to 2³²-1; patches do not depend on it.

    Raises:
        InputError: the pattern is unknown or defined twice, the seed is out of range, the images are too small for the
            pattern, or a plug-in's pattern returned invalid images.
    """
    found = PATTERNS.unambiguous(pattern)
    check_seed(seed)
    height, width = images.shape[2:]
    if not found.fits(height, width):
        raise InputError(
            f"The pattern {pattern} needs images of at least {found.smallest[0]}x{found.smallest[1]} pixels, but these "
            f"have {height}x{width}."
        )
    if PATTERNS.is_builtin(pattern):
        patterned: Tensor = found.apply(images, seed)
        return patterned
    return _checked(pattern, images, found.apply(images.clone(), seed))


def _checked(pattern: str, images: Tensor, patterned: object) -> Tensor:
    """Return the images from a pattern that is not built in, after checking their shape, type and range."""
    if not isinstance(patterned, Tensor) or (patterned.shape, patterned.dtype) != (images.shape, images.dtype):
        given = f"{patterned.dtype} {list(patterned.shape)}" if isinstance(patterned, Tensor) else type(patterned)
        raise InputError(
            f"The pattern {pattern} returned {given}. Expected float32 {list(images.shape)}, as its input."
        )
    if len(patterned) and not (patterned.min() >= 0 and patterned.max() <= 1):
        raise InputError(
            f"The pattern {pattern} returned pixels from {patterned.min():g} to {patterned.max():g}. Expected 0 to 1. "
            "Clip them."
        )
    return patterned


def pattern_norm(pattern: str, images: Tensor, seed: int) -> float:
    """Return the mean over images of the ℓ2 norm of what the pattern adds, computed in float64.

    Args:
        pattern: as for :func:`apply_pattern`.
        images: float32 ``[N, C, H, W]`` in [0, 1].
        seed: as for :func:`apply_pattern`.

    Raises:
        InputError: as for :func:`apply_pattern`, or there are no images.
    """
    if len(images) == 0:
        raise InputError("Cannot compute the mean norm of a pattern without images. Expected at least one image.")
    total = 0.0
    for block in blocks(images):
        difference = apply_pattern(pattern, block, seed).double() - block.double()
        total += difference.flatten(1).norm(dim=1).sum().item()
    return total / len(images)


def check_seed(seed: int) -> None:
    """Check that ``numpy.random.RandomState`` accepts a seed.

    Raises:
        InputError: the seed is not in 0 to 2³²-1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise invalid_value("seed", seed, f"0 to {MAX_SEED}")
