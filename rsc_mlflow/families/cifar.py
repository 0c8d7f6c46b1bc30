"""The families ``cifar10``, ``cifar100`` and ``cifar100coarse``, from the official binary files or torchvision's.

Each row of a binary file contains the label (CIFAR-100: the coarse label, then the fine label) and a 32×32 image as
planes of red, green and blue.  Torchvision's pickled files in a data root are used only if it has no binary files.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsc_mlflow.families import FAMILIES, Family, Split
from rsc_mlflow.families.sources import Layout, by_archive, by_torchvision, locate, verify

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Binary:
    """The binary version of CIFAR-10 or CIFAR-100.

    Attributes:
        source: name of the download; see :class:`Layout`.
        folder: folder of the files, relative to a data root.
        train: training files in order, with their checksums.
        test: test files in order, with their checksums.
        labels: number of label bytes in each row.
        url: address of the archive.
        archive_md5: MD5 sum of the archive.
    """

    source: str
    folder: str
    train: dict[str, str]
    test: dict[str, str]
    labels: int
    url: str
    archive_md5: str


CIFAR10 = Binary(
    "CIFAR10",
    "cifar-10-batches-bin",
    {
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    },
    {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
    1,
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
)
CIFAR100 = Binary(
    "CIFAR100",
    "cifar-100-binary",
    {"train.bin": "e207cd2e05b73b1393c74c7f5e7bea451d63e08e"},
    {"test.bin": "8fb6623e830365ff53cf14adec797474f5478006"},
    2,
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
)
"""The checksums of the two files are the SHA-1 sums in Apache MXNet's ``gluon.data.vision.CIFAR100``."""


def binary_layout(family: str) -> Layout:
    """Return the layout of a family's official binary files."""
    binary = _binary(family)
    sums = {**binary.train, **binary.test}
    return Layout(family, binary.source, binary.folder, sums, by_archive(binary.url, binary.archive_md5))


def pickled_layout(family: str) -> Layout:
    """Return the layout of a family's files as stored by torchvision, with torchvision's checksums."""
    source = _torchvision(family)
    sums = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    return Layout(family, source.__name__, source.base_folder, sums, by_torchvision(source.__name__))


def load(folder: Path, family: str) -> tuple[Split, Split]:
    """Verify the files in a folder of either layout and return the training set and the test set.

    Images are uint8 ``[N, 3, 32, 32]``.
    """
    binary = folder.name == _binary(family).folder
    for name, expected in (binary_layout if binary else pickled_layout)(family).sums.items():
        verify(folder / name, expected)
    read = _read_binary if binary else _read_pickled
    return read(folder, family, train=True), read(folder, family, train=False)


def _binary(family: str) -> Binary:
    return CIFAR10 if family == "cifar10" else CIFAR100


def _torchvision(family: str) -> Any:
    from torchvision import datasets

    return datasets.CIFAR10 if family == "cifar10" else datasets.CIFAR100


def _read_binary(folder: Path, family: str, train: bool) -> Split:
    binary = _binary(family)
    names = binary.train if train else binary.test
    rows = [np.fromfile(folder / name, np.uint8).reshape(-1, binary.labels + PIXELS) for name in names]
    images = np.concatenate([part[:, binary.labels :] for part in rows]).reshape(-1, 3, 32, 32)
    label = 1 if family == "cifar100" else 0
    return images, np.concatenate([part[:, label] for part in rows])


def _read_pickled(folder: Path, family: str, train: bool) -> Split:
    """Read with torchvision, except for coarse labels, which it does not return; these are read from the file."""
    source = _torchvision(family)(folder.parent, train=train)
    labels = source.targets
    if family == "cifar100coarse":
        labels = read_plain_pickle(folder / ("train" if train else "test"))["coarse_labels"]
    return source.data.transpose(0, 3, 1, 2), np.asarray(labels)


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that accepts only numpy arrays and plain Python values."""

    _ADMITTED = {  # noqa: RUF012 - never changed
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name.partition(".")[0] == "numpy" and global_name in self._ADMITTED:
            return self._ADMITTED[global_name]
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed in a data file")


def read_plain_pickle(path: Path) -> Any:
    """Return the content of a pickle file of plain values and arrays, without running code from it."""
    with path.open("rb") as file:
        return _PlainUnpickler(file, encoding="latin1").load()


def _register(name: str, classes: int, clean_only: bool) -> None:
    FAMILIES.register(
        name,
        Family(
            classes,
            lambda folder: load(folder, name),
            lambda root: locate(binary_layout(name), root, [pickled_layout(name)]),
            clean_only=clean_only,
            image_shape=(3, 32, 32),
            sizes=(50_000, 10_000),
        ),
    )


_register("cifar10", 10, clean_only=False)
_register("cifar100", 100, clean_only=True)
_register("cifar100coarse", 20, clean_only=True)
