"""Spurious patterns: what is done to an image.  None of these files imports PyTorch before a pattern is applied.

To add a pattern, register it in ``paper.py``, or write a file that ends in ``PATTERNS.register(NAME, Pattern(…))``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rsc_mlflow.registries import Registry

Apply = Callable[[Any, int], Any]
"""Images float32 ``[N, C, H, W]`` in [0, 1] and a seed → new images of that kind with the pattern on them."""


@dataclass(frozen=True)
class Pattern:
    """A spurious pattern.

    Attributes:
        apply: see :data:`Apply`; the images given are left as they are.
        title: what figures call it: the paper's short name, or its own.
        depends_on_seed: whether ``apply`` draws from the seed; a patch is the same for every seed.
        smallest: height and width of the smallest images that can carry it.
    """

    apply: Apply
    title: str
    depends_on_seed: bool = False
    smallest: tuple[int, int] = (1, 1)

    def fits(self, height: int, width: int) -> bool:
        """Whether images of this size can carry it."""
        return height >= self.smallest[0] and width >= self.smallest[1]


PATTERNS = Registry[Pattern]("pattern", __name__)
