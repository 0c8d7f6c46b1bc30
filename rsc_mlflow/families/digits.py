"""The family ``digits``: scikit-learn's 1,797 handwritten digits, which need no files."""

import numpy as np

from rsc_mlflow.families import FAMILIES, Family, Split

TEST_SHARE = 0.2


def load(place: None) -> tuple[Split, Split]:
    """Return the training and the test set: 8×8 digits, enlarged three times and padded to 28×28 by zeros.

    Images are float32 ``[N, 1, 28, 28]`` with values k/16.  The split is stratified, 80 % for training.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    small = (source.images / 16.0).astype(np.float32)  # [1797, 8, 8]
    images = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))[:, None]
    labels = source.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_SHARE, stratify=labels, random_state=0, shuffle=True
    )
    return (images[train], labels[train]), (images[test], labels[test])


FAMILIES.register("digits", Family(10, load, lambda root: None, image_shape=(1, 28, 28), sizes=(1_437, 360)))
