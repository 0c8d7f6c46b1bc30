"""Sensitivity to missing pixels: the mean probability of the true class as a function of the share of pixels removed.

This is the paper's "model sensitivity", for which it uses 500 training examples and 51 shares from 0 to 1.  A pixel is
removed by setting it to zero; pixels that are zero already are not counted.  As in the paper's code, the removed sets
are nested and the same for all models of a dataset.  There are two differences.  Exactly the given share of each image
is removed (rounded to whole pixels), not each pixel with that probability.  All channels of a pixel are removed
together; the paper's code draws for each non-zero channel and removes a color pixel if any of its channels is drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rsc_mlflow.errors import invalid_value
from rsc_mlflow.rng import torch_generator

Logits = Callable[[Tensor], Tensor]
"""A function from images, float32 ``[N, C, H, W]``, to the logits of a model in evaluation mode, ``[N, classes]``."""


@dataclass(frozen=True)
class OcclusionCurve:
    """Mean probability of the true class (``probabilities``) for each share of non-zero pixels removed (``shares``)."""

    shares: tuple[float, ...]
    probabilities: tuple[float, ...]

    @property
    def auc(self) -> float:
        """Area under the curve by the trapezoidal rule, in [0, 1]; higher means less sensitive."""
        pairs = zip(pairwise(self.shares), pairwise(self.probabilities), strict=True)
        return sum((right - left) * (first + second) / 2 for (left, right), (first, second) in pairs)


@dataclass(frozen=True, eq=False)
class Occluder:
    """Images with an order in which their non-zero pixels are removed, the same for all compared models.

    Attributes:
        images: float32 ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        rank: position of each non-zero pixel in the order of its image, divided by their number, in [0, 1); 1 for
            pixels that are zero.  float64 ``[N, H, W]``.
    """

    images: Tensor
    labels: Tensor
    rank: Tensor

    def at(self, share: float) -> Tensor:
        """Return the images with a share of their non-zero pixels set to zero, float32 ``[N, C, H, W]``.

        The first round(share · n) of n non-zero pixels are removed (a half is rounded up).

        Raises:
            InputError: the share is outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise invalid_value("share", share, "0 to 1")
        count = (self.rank < 1).sum(dim=(1, 2), keepdim=True).double()
        removed = torch.floor(share * count + 0.5)
        return self.images * (self.rank * count >= removed - 0.25).unsqueeze(1)

    def curve(self, logits: Logits, steps: int) -> OcclusionCurve:
        """Return the curve of one model for ``steps`` evenly spaced shares from 0 to 1.

        Raises:
            InputError: there are fewer than two steps.
        """
        if steps < 2:
            raise invalid_value("steps", steps, "an integer ≥ 2")
        shares = tuple(k / (steps - 1) for k in range(steps))
        return OcclusionCurve(shares, tuple(self._probability(logits(self.at(share))) for share in shares))

    def _probability(self, logits: Tensor) -> float:
        own = logits.double().softmax(1).gather(1, self.labels.to(logits.device).unsqueeze(1))
        return own.mean().item()


def occluder(images: Tensor, labels: Tensor, examples: int, seed: int = 0) -> Occluder:
    """Return randomly chosen examples, each with a random order in which its non-zero pixels are removed.

    Args:
        images: float32 ``[N, C, H, W]``, e.g. a training set.
        labels: int64 ``[N]``.
        examples: number of examples to choose without replacement.
        seed: seed of the choice and of the orders.

    Raises:
        InputError: ``examples`` is not between 1 and N.
    """
    if not 1 <= examples <= len(images):
        raise invalid_value("examples", examples, f"1 to {len(images)}, the number of images")
    chosen = torch.randperm(len(images), generator=torch_generator(seed, "occlusion examples"))[:examples]
    picked = images[chosen]
    return Occluder(picked, labels[chosen], _ranks(picked, seed))


def _ranks(images: Tensor, seed: int) -> Tensor:
    n, _, height, width = images.shape
    nonzero = (images != 0).any(dim=1).flatten(1)
    keys = torch.rand(n, height * width, dtype=torch.float64, generator=torch_generator(seed, "occlusion order"))
    order = keys.masked_fill(~nonzero, 2).argsort(dim=1)  # non-zero pixels first, in random order
    position = order.argsort(dim=1).double()
    count = nonzero.sum(dim=1, keepdim=True)
    rank = torch.where(nonzero, position / count.clamp(min=1), 1.0)
    return rank.reshape(n, height, width)
