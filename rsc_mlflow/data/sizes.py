"""How large a dataset is, known before it is loaded."""

from rsc_mlflow.data.families import load_family
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.names import DatasetName


def examples_and_shape(name: DatasetName, data_root: str = "auto") -> tuple[int, tuple[int, int, int]]:
    """Training examples and image shape of a dataset; only a family that does not declare them is loaded.

    Raises:
        InputError: such a family cannot be loaded.
    """
    family = FAMILIES[name.family]
    sizes, shape = family.sizes, family.image_shape
    if sizes is None or shape is None:
        train, test = load_family(name.family, data_root)
        sizes, shape = (len(train), len(test)), train.image_shape
    return (sum(sizes) // 4 if name.quarters else sizes[0]), shape
