"""The clean data sets, each whole in memory as two tensors a split.

Sets are loaded once per process and shared by everyone who asks: nobody may write to their tensors.
Images are ``uint8 / 255`` in float32, as in the paper's code (``digits``, which it does not have: value / 16).
"""

import gzip
import pickle
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsc_mlflow import tempdirs
from rsc_mlflow.data.digests import row_digests
from rsc_mlflow.data.sources import layout_of, locate, stored_file, verify
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import CLASSES

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_LOAD_LOCK = threading.Lock()
_DIGITS_TEST_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their classes.

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
        """SHA-256 of each image, uint8 ``[N, 32]``; computed once."""
        return row_digests(self.images)


def load_family(family: str, data_root: str | Path = "auto") -> tuple[ImageSet, ImageSet]:
    """The clean training and test set of a family, in the original order; shared, never to be written to.

    Args:
        family: one of ``rsc_mlflow.names.CLASSES``.
        data_root: folder in torchvision's layout, or ``auto``; see :mod:`rsc_mlflow.data.sources`.

    Raises:
        InputError: unknown family, no data and no way to get it, or a truncated or corrupted file.
    """
    if family not in CLASSES:
        raise InputError(f"unknown data set family {family!r}; accepted: {', '.join(CLASSES)}")
    folder = None if family == "digits" else locate(family, data_root)
    with _LOAD_LOCK:
        return _load(family, folder)


@lru_cache(maxsize=3)
def _load(family: str, folder: Path | None) -> tuple[ImageSet, ImageSet]:
    if folder is None:
        return _load_digits()
    if family in ("mnist", "fashion"):
        return _load_idx(family, folder, "train"), _load_idx(family, folder, "t10k")
    for name, md5 in layout_of(family).md5.items():
        verify(folder / name, md5)
    return _load_cifar(family, folder, train=True), _load_cifar(family, folder, train=False)


def _load_digits() -> tuple[ImageSet, ImageSet]:
    """scikit-learn's 1,797 digits: each of 8×8 pixels 3×3, then two pixels of zeros on each side."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    small = (source.images / 16.0).astype(np.float32)  # [1797, 8, 8], multiples of 1/16
    images = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))[:, None]
    labels = source.target.astype(np.int64)
    parts = train_test_split(
        np.arange(len(labels)), test_size=_DIGITS_TEST_SHARE, stratify=labels, random_state=0, shuffle=True
    )
    train, test = (ImageSet(torch.from_numpy(images[part]), torch.from_numpy(labels[part])) for part in parts)
    return train, test


def _load_idx(family: str, folder: Path, part: str) -> ImageSet:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    with _verified(family, folder, f"{part}-images-idx3-ubyte") as path:
        images = read_image_file(str(path)).numpy()
    with _verified(family, folder, f"{part}-labels-idx1-ubyte") as path:
        labels = read_label_file(str(path)).numpy()
    return _image_set(images[:, None], labels)


@contextmanager
def _verified(family: str, folder: Path, name: str) -> Iterator[Path]:
    """The uncompressed file, its MD5 checked; a ``.gz`` is unpacked into a temporary folder."""
    expected = layout_of(family).md5[name]
    stored = stored_file(folder, name)
    if stored is None:
        raise InputError(f"{folder / name} is gone; restore it, or run again to download it")
    if stored.suffix != ".gz":
        verify(stored, expected)
        yield stored
        return
    with tempdirs.tempdir() as temporary:
        unpacked = temporary / name
        try:
            with gzip.open(stored) as packed, unpacked.open("wb") as target:
                shutil.copyfileobj(packed, target)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{stored} is truncated or corrupted ({error}); restore it") from error
        verify(unpacked, expected, stored_as=stored)
        yield unpacked


def _load_cifar(family: str, folder: Path, train: bool) -> ImageSet:
    """CIFAR through torchvision, which has no coarse labels: those are read from its (verified) files."""
    from torchvision import datasets

    source = (datasets.CIFAR10 if family == "cifar10" else datasets.CIFAR100)(folder.parent, train=train)
    labels = source.targets
    if family == "cifar100coarse":
        labels = _read_plain_pickle(folder / ("train" if train else "test"))["coarse_labels"]
    return _image_set(source.data.transpose(0, 3, 1, 2), np.asarray(labels))


class _PlainUnpickler(pickle.Unpickler):
    """Admits numpy arrays and plain Python values, and no other class or function."""

    _ADMITTED = {  # noqa: RUF012 - never changed
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name.partition(".")[0] == "numpy" and global_name in self._ADMITTED:
            return self._ADMITTED[global_name]
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not admitted in a data file")


def _read_plain_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        return _PlainUnpickler(file, encoding="latin1").load()


def _image_set(pixels: Bytes, labels: npt.NDArray[Any]) -> ImageSet:
    """uint8 ``[N, C, H, W]`` → float32 in [0, 1], written straight into its final array."""
    images = np.empty(pixels.shape, dtype=np.float32)
    np.divide(pixels, np.float32(255), out=images, dtype=np.float32)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))
