"""The size of a dataset, for estimates and checks before it is loaded."""

from rsc_mlflow.data.families import load_family
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.names import DatasetName


def examples_and_shape(name: DatasetName, data_root: str = "auto") -> tuple[int, tuple[int, int, int]]:
    """Return the number of training examples and the image shape (C, H, W) of a dataset.

    The family is loaded only if it does not declare them.

    Raises:
        InputError: the family must be loaded and cannot be.
    """
    family = FAMILIES[name.family]
    sizes, shape = family.sizes, family.image_shape
    if sizes is None or shape is None:
        train, test = load_family(name.family, data_root)
        sizes, shape = (len(train), len(test)), train.image_shape
    return (sum(sizes) // 4 if name.quarters else sizes[0]), shape
