"""Datasets with rare spurious examples.

All datasets of a family share the clean tensors.  A dataset adds only the indices of its spurious examples and a small
tensor of these examples with the pattern.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsc_mlflow.data.digests import row_digests, set_digest
from rsc_mlflow.data.families import ImageSet, load_family
from rsc_mlflow.data.patterns import apply_pattern, check_seed
from rsc_mlflow.data.quarters import cut_quarters
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import DatasetName

Split = Literal["train", "test"]


def choose_spurious(labels: npt.NDArray[Any], targets: Sequence[int], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the indices of the spurious examples: ``count`` per target class, in order of choice, int64 ``[m]``.

    As in the paper's code, they are ``RandomState(seed).choice(where(labels == target)[0], size=count,
    replace=False)``.  Two targets draw from the same ``RandomState``, one after the other.

    Args:
        labels: integers ``[N]``.
        targets: zero, one or two classes.
        count: number of examples per target.
        seed: 0 to 2³²-1.

    Raises:
        InputError: the count is negative or larger than a class, or the seed is out of range.
    """
    check_seed(seed)
    state = np.random.RandomState(seed)
    chosen = [np.empty(0, dtype=np.int64)]
    for target in targets:
        members = np.where(labels == target)[0]
        if not 0 <= count <= len(members):
            raise InputError(
                f"Cannot choose {count} spurious examples of class {target}: the training set has {len(members)} "
                f"examples of that class. Expected 0 to {len(members)}."
            )
        chosen.append(state.choice(members, size=count, replace=False))
    return np.concatenate(chosen).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset with spurious examples.

    Attributes:
        name: the dataset name.
        pattern_seed: seed of the pattern's noise (by default the name's seed).
        train: clean training set, shared with other datasets; do not modify it.
        test: clean test set, shared with other datasets; do not modify it.
        spurious_indices: indices into ``train`` in order of choice, int64 ``[m]``.
        spurious_images: these training examples with the pattern, float32 ``[m, C, H, W]``.
        shadow: clean shadow-train and shadow-test set of a ``mem…`` name, else None.
    """

    name: DatasetName
    pattern_seed: int
    train: ImageSet
    test: ImageSet
    spurious_indices: Tensor
    spurious_images: Tensor
    shadow: tuple[ImageSet, ImageSet] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.train.image_shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.name.classes

    def training_images(self) -> Tensor:
        """Return a new tensor of all training images, including the spurious ones, float32 ``[N, C, H, W]``."""
        images = self.train.images.clone()
        images[self.spurious_indices] = self.spurious_images
        return images

    def patterned(self, images: Tensor, pattern: str | None = None) -> Tensor:
        """Return new images ``[N, C, H, W]`` with a pattern (default: the dataset's), using ``self.pattern_seed``.

        Raises:
            InputError: the dataset is clean and no pattern was given, the pattern is unknown, or the images are too
                small for it.
        """
        chosen = pattern or self.name.pattern
        if chosen is None:
            raise InputError(f"The clean dataset {self.name} has no pattern of its own. Specify a pattern.")
        return apply_pattern(chosen, images, self.pattern_seed)

    def digest(self, split: Split) -> str:
        """Return a digest of all images, labels and spurious indices of a split, 32 hexadecimal digits.

        It is the first half of the SHA-256 of these parts: the SHA-256 of each image in order (spurious ones with their
        pattern), the labels and, for ``train``, the spurious indices.  Images that datasets in memory share are hashed
        only once.
        """
        if split == "test":
            return self.test.digest
        rows = self.train.digests
        if len(self.spurious_indices):
            rows = rows.copy()
            rows[self.spurious_indices.numpy()] = row_digests(self.spurious_images)
        return set_digest(rows, self.train.labels, self.spurious_indices)


def load_dataset(name: DatasetName, data_root: str | Path = "auto", pattern_seed: int | None = None) -> Dataset:
    """Return the dataset of a name.

    Args:
        name: the dataset name.
        data_root: see :func:`rsc_mlflow.data.families.load_family`.
        pattern_seed: seed of the pattern's noise; None: the name's seed, as in the paper's code.

    Raises:
        InputError: the data is missing or corrupted, the count is larger than the class, the images are too small for
            the pattern, or the seed is out of range.
    """
    seed = name.seed if pattern_seed is None else pattern_seed
    check_seed(seed)
    train, test = load_family(name.family, data_root)
    shadow = None
    if name.quarters:
        quarters = _quarters(train, test)
        train, test = quarters.target_train, quarters.target_test
        shadow = quarters.shadow_train, quarters.shadow_test
    indices = torch.from_numpy(choose_spurious(train.labels.numpy(), name.targets, name.count, name.seed))
    images = train.images[indices]
    if name.pattern is not None:
        images = apply_pattern(name.pattern, images, seed)
    return Dataset(name, seed, train, test, indices, images, shadow)


_quarters = lru_cache(maxsize=1)(cut_quarters)
