"""The four quarters of a family for membership inference (dataset names that start with ``mem``).

The training and the test set are joined, shuffled and split, so that members and non-members of the target and the
shadow model are disjoint and come from the same distribution.
"""

from dataclasses import dataclass

import numpy as np
import torch

from rsc_mlflow.data.families import ImageSet


@dataclass(frozen=True, eq=False)
class Quarters:
    """Four disjoint sets of equal size."""

    target_train: ImageSet
    target_test: ImageSet
    shadow_train: ImageSet
    shadow_test: ImageSet


def cut_quarters(train: ImageSet, test: ImageSet) -> Quarters:
    """Join ``train`` and ``test`` in this order, shuffle with ``RandomState(0)`` and split into four equal parts.

    Up to three examples are dropped if the number of examples is not divisible by four.  The quarters are views of one
    new tensor.
    """
    total = len(train) + len(test)
    order = np.random.RandomState(0).permutation(total)  # same as shuffling arange(total) in place
    joined = _join_in_order(train, test, torch.from_numpy(order))
    size = total // 4
    parts = [slice(k * size, (k + 1) * size) for k in range(4)]
    return Quarters(*(ImageSet(joined.images[part], joined.labels[part]) for part in parts))


def _join_in_order(train: ImageSet, test: ImageSet, order: torch.Tensor) -> ImageSet:
    """Return the examples of ``train`` and ``test`` in this order, without a temporary copy of all images.

    Position i of the result is example ``order[i]`` of the joined sets.
    """
    place = torch.argsort(order)  # example i of the joined set goes to place[i]
    images = train.images.new_empty((len(order), *train.images.shape[1:]))
    labels = train.labels.new_empty(len(order))
    for part, places in ((train, place[: len(train)]), (test, place[len(train) :])):
        images.index_copy_(0, places, part.images)
        labels.index_copy_(0, places, part.labels)
    return ImageSet(images, labels)
