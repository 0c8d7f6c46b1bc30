"""The registry of dataset families, the sources of clean images and labels.

To add a family, add a module here that calls ``FAMILIES.register(NAME, Family(…))``.  The modules do not import PyTorch
when they are imported, because ``--help`` lists the families.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsc_mlflow.registries import Registry

Split = tuple[Any, Any]
"""Images ``[N, C, H, W]``, uint8 or floating point in [0, 1], and integer labels ``[N]``: arrays or tensors."""


@dataclass(frozen=True)
class Family:
    """A dataset family: how to load its clean images, and what is known before loading.

    Attributes:
        classes: number of classes; labels are 0 to classes - 1.
        load: called with a place from ``locate``; returns the training set and the test set, each with its examples in
            a fixed order.
        locate: called with the option ``data_root``; returns the place to load from, e.g. a folder.  Loaded images are
            cached by place.
        clean_only: whether a dataset name of the family must be the clean form, without a pattern and without ``mem``.
        image_shape: (channels, height, width); None if unknown before loading.
        sizes: numbers of training and test examples; None if unknown before loading.
    """

    classes: int
    load: Callable[[Any], tuple[Split, Split]]
    locate: Callable[[str | Path], Hashable] = str
    clean_only: bool = False
    image_shape: tuple[int, int, int] | None = None
    sizes: tuple[int, int] | None = None


FAMILIES = Registry[Family]("dataset family", __name__)
