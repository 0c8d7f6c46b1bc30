"""Dataset families: where clean images and labels come from.  One file per source; none of them imports PyTorch.

To add a family, write a file here that ends in ``FAMILIES.register(NAME, Family(…))``.
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
    """A family of datasets: its clean images and what is known of them without reading any.

    Attributes:
        classes: number of classes; labels are 0 … classes - 1.
        load: place → training and test set, in a fixed order.
        locate: the ``data_root`` option → the place to load from; places that are equal hold the same images.
        clean_only: whether the family has no forms with patterns and no quarters.
        image_shape: (channels, height, width); None: known when the images have been loaded.
        sizes: numbers of training and test examples; None: likewise.
    """

    classes: int
    load: Callable[[Any], tuple[Split, Split]]
    locate: Callable[[str | Path], Hashable] = str
    clean_only: bool = False
    image_shape: tuple[int, int, int] | None = None
    sizes: tuple[int, int] | None = None


FAMILIES = Registry[Family]("dataset family", __name__)
