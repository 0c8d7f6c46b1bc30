"""Sensitivity to missing pixels: the true class's probability while more and more of an image is removed.

The paper's "model sensitivity": 500 training examples, 51 shares from 0 to 1 of the non-zero pixels set to
zero.  As in the paper's code the removed sets are nested and the same for all models of a dataset.  Two details
differ from it.  Of each image exactly the share is removed (rounded to whole pixels), not each pixel with that
probability.  A pixel counts once with all its channels; the paper's code draws per non-zero channel and removes
a color pixel if any of the draws says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import torch_generator

Logits = Callable[[Tensor], Tensor]
"""Images float32[N, C, H, W] → logits float[N, classes] of a model in evaluation mode."""


@dataclass(frozen=True)
class OcclusionCurve:
    """Mean probability of the true class against the share of non-zero pixels removed."""

    shares: tuple[float, ...]
    probabilities: tuple[float, ...]

    @property
    def auc(self) -> float:
        """Area under the curve by trapezoids, between 0 and 1: higher is less sensitive."""
        pairs = zip(pairwise(self.shares), pairwise(self.probabilities), strict=True)
        return sum((right - left) * (first + second) / 2 for (left, right), (first, second) in pairs)


@dataclass(frozen=True, eq=False)
class Occluder:
    """Images and, for each, an order in which its non-zero pixels go; the same for every model that is compared.

    Attributes:
        images: float32[N, C, H, W].
        labels: int64[N].
        rank: float64[N, H, W], the position of each non-zero pixel in its image's order, divided by their
            number: in [0, 1).  Pixels that are zero have rank 1 and stay as they are.
    """

    images: Tensor
    labels: Tensor
    rank: Tensor

    def at(self, share: float) -> Tensor:
        """float32[N, C, H, W]: the images with this share of their non-zero pixels set to zero.

        Of n non-zero pixels the first round(share · n) go (a half is rounded up).

        Raises:
            InputError: a share outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise InputError(f"share is {share}; accepted: 0 to 1")
        count = (self.rank < 1).sum(dim=(1, 2), keepdim=True).double()
        removed = torch.floor(share * count + 0.5)
        return self.images * (self.rank * count >= removed - 0.25).unsqueeze(1)

    def curve(self, logits: Logits, steps: int) -> OcclusionCurve:
        """The curve of one model over ``steps`` evenly spaced shares from 0 to 1.

        Raises:
            InputError: fewer than two steps.
        """
        if steps < 2:
            raise InputError(f"steps is {steps}; accepted: at least 2")
        shares = tuple(k / (steps - 1) for k in range(steps))
        return OcclusionCurve(shares, tuple(self._probability(logits(self.at(share))) for share in shares))

    def _probability(self, logits: Tensor) -> float:
        own = logits.double().softmax(1).gather(1, self.labels.to(logits.device).unsqueeze(1))
        return own.mean().item()


def occluder(images: Tensor, labels: Tensor, examples: int, seed: int = 0) -> Occluder:
    """Choose examples without replacement and an order of removal for each.

    Args:
        images: float32[N, C, H, W], e.g. a training set.
        labels: int64[N].
        examples: how many to choose.
        seed: decides the choice and the order, and nothing else does.

    Raises:
        InputError: more examples than images, or none.
    """
    if not 1 <= examples <= len(images):
        raise InputError(f"examples is {examples}; accepted: 1 to {len(images)}, the number of images")
    chosen = torch.randperm(len(images), generator=torch_generator(seed, "occlusion examples"))[:examples]
    picked = images[chosen]
    return Occluder(picked, labels[chosen], _ranks(picked, seed))


def _ranks(images: Tensor, seed: int) -> Tensor:
    n, _, height, width = images.shape
    seen = (images != 0).any(dim=1).flatten(1)
    keys = torch.rand(n, height * width, dtype=torch.float64, generator=torch_generator(seed, "occlusion order"))
    order = keys.masked_fill(~seen, 2).argsort(dim=1)  # non-zero pixels first, in random order
    position = order.argsort(dim=1).double()
    count = seen.sum(dim=1, keepdim=True)
    rank = torch.where(seen, position / count.clamp(min=1), 1.0)
    return rank.reshape(n, height, width)
