"""``cifar10``, ``cifar100`` and ``cifar100coarse``, from torchvision's files."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rsc_mlflow.families import FAMILIES, Family, Split
from rsc_mlflow.families.sources import Layout, locate, verify


def layout(family: str) -> Layout:
    """The files of one of the three; torchvision knows their sums."""
    source = _source(family)
    md5 = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    return Layout(family, source.__name__, source.base_folder, md5)


def load(folder: Path, family: str) -> tuple[Split, Split]:
    """Training and test set from checked files."""
    for name, md5 in layout(family).md5.items():
        verify(folder / name, md5)
    return _read(folder, family, train=True), _read(folder, family, train=False)


def _source(family: str) -> Any:
    from torchvision import datasets

    return datasets.CIFAR10 if family == "cifar10" else datasets.CIFAR100


def _read(folder: Path, family: str, train: bool) -> Split:
    """Through torchvision, which has no coarse labels: those are read from its (verified) files."""
    source = _source(family)(folder.parent, train=train)
    labels = source.targets
    if family == "cifar100coarse":
        labels = read_plain_pickle(folder / ("train" if train else "test"))["coarse_labels"]
    return source.data.transpose(0, 3, 1, 2), np.asarray(labels)


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


def read_plain_pickle(path: Path) -> Any:
    """A pickle file of plain values and arrays, read without running any code of it."""
    with path.open("rb") as file:
        return _PlainUnpickler(file, encoding="latin1").load()


def _register(name: str, classes: int, clean_only: bool) -> None:
    FAMILIES.register(
        name,
        Family(
            classes,
            lambda folder: load(folder, name),
            lambda root: locate(layout(name), root),
            clean_only=clean_only,
            image_shape=(3, 32, 32),
            sizes=(50_000, 10_000),
        ),
    )


_register("cifar10", 10, clean_only=False)
_register("cifar100", 100, clean_only=True)
_register("cifar100coarse", 20, clean_only=True)
