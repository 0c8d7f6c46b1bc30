"""Putting a pattern of the registry on images, with its checks; and how much it adds."""

from torch import Tensor

from rsc_mlflow.errors import InputError
from rsc_mlflow.names import MAX_SEED
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.patterns.paper import blocks


def apply_pattern(pattern: str, images: Tensor, seed: int) -> Tensor:
    """The images with the pattern on them: a new tensor, the input is left as it is.

    Args:
        pattern: one of ``rsc_mlflow.patterns.PATTERNS``.
        images: float32 ``[N, C, H, W]`` in [0, 1].
        seed: of the noise; patches do not depend on it.

    Raises:
        InputError: unknown pattern, a bad seed, images too small to carry it, or a plug-in's pattern that gives
            something other than such images.
    """
    found = PATTERNS[pattern]
    check_seed(seed)
    height, width = images.shape[2:]
    if not found.fits(height, width):
        raise InputError(
            f"pattern {pattern} needs images of at least {found.smallest[0]}x{found.smallest[1]} pixels; "
            f"these have {height}x{width}"
        )
    if PATTERNS.is_builtin(pattern):
        patterned: Tensor = found.apply(images, seed)
        return patterned
    return _checked(pattern, images, found.apply(images.clone(), seed))


def _checked(pattern: str, images: Tensor, patterned: object) -> Tensor:
    """What a pattern from outside the package gave, if it is a tensor of images like those it got."""
    if not isinstance(patterned, Tensor) or (patterned.shape, patterned.dtype) != (images.shape, images.dtype):
        given = f"{patterned.dtype} {list(patterned.shape)}" if isinstance(patterned, Tensor) else type(patterned)
        raise InputError(f"pattern {pattern} returned {given}; expected float32 {list(images.shape)}, as it was given")
    if len(patterned) and not (patterned.min() >= 0 and patterned.max() <= 1):
        raise InputError(
            f"pattern {pattern} returned pixels from {patterned.min():g} to {patterned.max():g}; expected 0 to 1: "
            "clip them"
        )
    return patterned


def pattern_norm(pattern: str, images: Tensor, seed: int) -> float:
    """Mean ℓ2 norm of ``apply_pattern(x) - x`` over the images ``[N, C, H, W]``; summed in float64.

    Raises:
        InputError: as :func:`apply_pattern`, or there are no images to average over.
    """
    if len(images) == 0:
        raise InputError("the mean norm of a pattern needs at least one image; got none")
    total = 0.0
    for block in blocks(images):
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
