"""The family ``digits``: scikit-learn's 1,797 handwritten digits, which need no download."""

from pathlib import Path

import numpy as np

from rsc_mlflow.families import FAMILIES, Family, Split

_FILE = Path(__file__).with_suffix(".npz")
"""``load_digits()`` after ``train_test_split(test_size=0.2, stratify=target, random_state=0)``, as uint8.

The result is stored because importing scikit-learn takes a second, and because other versions could split differently.
"""


def load(place: None) -> tuple[Split, Split]:
    """Return the training set and the test set, a stratified split of 80 % and 20 %.

    Each pixel of the 8×8 digits becomes 3×3 pixels, and two rows or columns of zeros are added on each side.  Images
    are float32 ``[N, 1, 28, 28]`` with values k/16.
    """
    with np.load(_FILE) as stored:
        train, test = ((stored[f"{part}_images"], stored[f"{part}_labels"]) for part in ("train", "test"))
        return _split(*train), _split(*test)


def _split(small: np.ndarray, labels: np.ndarray) -> Split:
    images = (small / 16.0).astype(np.float32).repeat(3, axis=1).repeat(3, axis=2)  # small: [N, 8, 8]
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None], labels.astype(np.int64)


FAMILIES.register("digits", Family(10, load, lambda root: None, image_shape=(1, 28, 28), sizes=(1_437, 360)))
