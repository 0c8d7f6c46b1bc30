"""The registry of spurious patterns.  PyTorch is imported only when a pattern is applied.

To add a pattern, register it in ``paper.py`` or in a new module with ``PATTERNS.register(NAME, Pattern(…))``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rsc_mlflow.registries import Registry

Apply = Callable[[Any, int], Any]
"""A function of images, float32 ``[N, C, H, W]`` in [0, 1], and a seed; returns new images with the pattern added."""


@dataclass(frozen=True)
class Pattern:
    """A spurious pattern.

    Attributes:
        apply: see :data:`Apply`; it does not modify its input.
        title: name in figures: the paper's short name (S1 to S3, R1 to R3, Co), or else the registered name.
        depends_on_seed: whether ``apply`` uses the seed; a patch is the same for every seed.
        smallest: height and width of the smallest images that the pattern fits.
    """

    apply: Apply
    title: str
    depends_on_seed: bool = False
    smallest: tuple[int, int] = (1, 1)

    def fits(self, height: int, width: int) -> bool:
        """Return whether the pattern fits images of this size."""
        return height >= self.smallest[0] and width >= self.smallest[1]


PATTERNS = Registry[Pattern]("pattern", __name__)
