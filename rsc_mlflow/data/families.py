"""Clean datasets, in memory as one tensor of images and one of labels per split.

The three families used last stay in memory and are shared within the process: do not modify their tensors.  Images of
type uint8 become ``uint8 / 255`` in float32, as in the paper's code.
"""

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsc_mlflow.data.digests import row_digests, set_digest
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES

Bytes = npt.NDArray[np.uint8]

_LOAD_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels.

    Attributes:
        images: float32 ``[N, C, H, W]`` in [0, 1].
        labels: int64 ``[N]``.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.float32:
            raise ValueError(f"images must be float32 [N, C, H, W]; got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64 [{len(self.images)}]; got {self.labels.dtype}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @cached_property
    def digests(self) -> Bytes:
        """SHA-256 of each image, uint8 ``[N, 32]``."""
        return row_digests(self.images)

    @cached_property
    def digest(self) -> str:
        """Digest of all images and labels, 32 hexadecimal digits."""
        return set_digest(self.digests, self.labels, self.labels[:0])


def load_family(family: str, data_root: str | Path = "auto") -> tuple[ImageSet, ImageSet]:
    """Return the clean training set and test set of a family, in the original order.

    The tensors are shared within the process: do not modify them.

    Args:
        family: one of ``rsc_mlflow.families.FAMILIES``.
        data_root: a folder with datasets, or ``auto``; see :func:`rsc_mlflow.roots.data_roots`.

    Raises:
        InputError: the family is unknown or defined twice, its data is missing or damaged, or a plug-in returned
            invalid images or labels.
    """
    place = FAMILIES.unambiguous(family).locate(data_root)
    with _LOAD_LOCK:
        return _load(family, place)


@lru_cache(maxsize=3)
def _load(family: str, place: Hashable) -> tuple[ImageSet, ImageSet]:
    declared = FAMILIES[family]
    (train_images, train_labels), (test_images, test_labels) = declared.load(place)
    train = _image_set(f"The training set of {family}", train_images, train_labels, declared.classes)
    test = _image_set(f"The test set of {family}", test_images, test_labels, declared.classes)
    if train.image_shape != test.image_shape:
        raise InputError(
            f"The images of {family} have the shape {train.image_shape} for training and {test.image_shape} for "
            "testing. Make them equal."
        )
    return train, test


def _image_set(what: str, images: Any, labels: Any, classes: int) -> ImageSet:
    """Return arrays or tensors as an image set; uint8 is converted to float32 in [0, 1].

    Raises:
        InputError: shapes, types or values are invalid.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or not images.size or labels.shape != images.shape[:1]:
        raise InputError(
            f"{what} has images of shape {images.shape} and labels of shape {labels.shape}. Expected [N, C, H, W] "
            "and [N], with at least one image."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"{what} has labels of type {labels.dtype} from {labels.min()} to {labels.max()}. Expected integers from "
            f"0 to {classes - 1}."
        )
    pixels = np.empty(images.shape, dtype=np.float32)
    if images.dtype == np.uint8:
        np.divide(images, np.float32(255), out=pixels, dtype=np.float32)
    elif np.issubdtype(images.dtype, np.floating) and images.min() >= 0 and images.max() <= 1:
        pixels[:] = images
    else:
        raise InputError(
            f"{what} has pixels of type {images.dtype} from {images.min()} to {images.max()}. Expected uint8, or "
            "floating point from 0 to 1."
        )
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)))
