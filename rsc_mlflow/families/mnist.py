"""The families ``mnist`` and ``fashion``, from idx files in a data root; ``fashion`` also from Debian's package."""

import gzip
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES, Family, Split
from rsc_mlflow.families.sources import Layout, by_torchvision, locate, stored_file, verify
from rsc_mlflow.tempdirs import tempdir

DEBIAN_FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 sums of the uncompressed files.  Torchvision verifies only the archives, and only when it downloads them."""

FASHION_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def mnist_layout() -> Layout:
    """Return the layout of ``mnist``."""
    return Layout("mnist", "MNIST", "MNIST/raw", MNIST_MD5, by_torchvision("MNIST"))


def fashion_layout() -> Layout:
    """Return the layout of ``fashion``."""
    folder = DEBIAN_FASHION_FOLDER
    advice = f"install Debian's package dataset-fashion-mnist (read from {folder})"
    download = by_torchvision("FashionMNIST")
    return Layout("fashion", "FashionMNIST", "FashionMNIST/raw", FASHION_MD5, download, (folder,), (advice,))


def load(folder: Path, md5: Mapping[str, str]) -> tuple[Split, Split]:
    """Verify the four files and return the training set and the test set; images are uint8 ``[N, 1, 28, 28]``."""
    return _read(folder, "train", md5), _read(folder, "t10k", md5)


def _read(folder: Path, part: str, md5: Mapping[str, str]) -> Split:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images, labels = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    with _verified(folder, images, md5[images]) as path:
        pixels = read_image_file(str(path)).numpy()
    with _verified(folder, labels, md5[labels]) as path:
        return pixels[:, None], read_label_file(str(path)).numpy()


@contextmanager
def _verified(folder: Path, name: str, expected: str) -> Iterator[Path]:
    """Yield the path of the uncompressed file after verifying it; ``.gz`` files are unpacked to a temporary folder."""
    stored = stored_file(folder, name)
    if stored is None:
        raise InputError(f"{folder / name} no longer exists. Restore it, or run again to download it.")
    if stored.suffix != ".gz":
        verify(stored, expected)
        yield stored
        return
    with tempdir() as temporary:
        unpacked = temporary / name
        try:
            with gzip.open(stored) as packed, unpacked.open("wb") as target:
                shutil.copyfileobj(packed, target)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{stored} is truncated or corrupted ({error}). Restore it.") from error
        verify(unpacked, expected, stored_as=stored)
        yield unpacked


def _family(layout: Callable[[], Layout]) -> Family:
    return Family(
        10,
        lambda folder: load(folder, layout().sums),
        lambda root: locate(layout(), root),
        image_shape=(1, 28, 28),
        sizes=(60_000, 10_000),
    )


FAMILIES.register("mnist", _family(mnist_layout))
FAMILIES.register("fashion", _family(fashion_layout))
