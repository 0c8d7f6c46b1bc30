"""Families from folders of images: ``DATA_ROOT/folders/NAME/{train,test}/CLASS/*.png``.

The layout is that of torchvision's ImageFolder.  Classes are numbered in alphabetical order of their folders; images
are sorted by class, then by file name.  If all images are grayscale, they have one channel; otherwise all have three.
Alpha channels are ignored.  A file ``family.yaml`` next to ``train`` may contain ``image_size: 32`` or
``image_size: [HEIGHT, WIDTH]`` to resize every image.  Otherwise all images must have the same size.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsc_mlflow import cancellation
from rsc_mlflow.errors import InputError
from rsc_mlflow.families import FAMILIES, Family, Split
from rsc_mlflow.roots import data_roots, name_roots
from rsc_mlflow.user_files import family_name_problem, is_name, yaml_settings

FOLDER, SETTINGS = "folders", "family.yaml"
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
GRAYSCALE_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F")  # and I;16…: more than 8 bits per channel
LARGEST_SIDE = 4096


class FolderFamilies:
    """The families from folders in the data roots."""

    def names(self) -> list[str]:
        """Return the names of all folders that are valid family names."""
        found = (path for root in name_roots() if (root / FOLDER).is_dir() for path in (root / FOLDER).iterdir())
        return sorted({path.name for path in found if is_name(path.name) and path.is_dir()})

    def has(self, name: str) -> bool:
        """Return whether there is a folder of this name."""
        return _folder_of(name) is not None

    def find(self, name: str) -> Family | None:
        """Return the family from the first data root that has a folder of this name.

        Raises:
            InputError: the name is not allowed, or the folder has no training set.
        """
        folder = _folder_of(name)
        if folder is None:
            return None
        if problem := family_name_problem(name):
            raise InputError(f"Cannot use the folder {folder} as a dataset family: {problem}. Rename the folder.")
        classes = class_folders(folder, "train")
        return Family(len(classes), load, lambda root: _locate(name, root))


def _folder_of(name: str) -> Path | None:
    if not is_name(name):
        return None
    return next((path for root in name_roots() if (path := root / FOLDER / name).is_dir()), None)


def _locate(name: str, data_root: str | Path) -> Path:
    """Return the family's folder in the data roots of this option, or else in those where names are looked up."""
    roots = [*data_roots(data_root), *name_roots()]
    found = next((path for root in roots if (path := root / FOLDER / name).is_dir()), None)
    if found is None:
        raise InputError(f"No folder {FOLDER}/{name} in {', '.join(map(str, roots))}. Restore it.")
    return found


def class_folders(folder: Path, split: str) -> list[str]:
    """Return the names of a split's class folders in alphabetical order, without hidden ones.

    Raises:
        InputError: the split's folder is missing or contains no folder.
    """
    if not (folder / split).is_dir():
        raise InputError(
            f"The family {folder.name} has no folder {folder / split}. Create it, with a folder per class."
        )
    stamp = (folder / split).stat().st_mtime_ns
    return _class_folders(folder / split, stamp)


@cache
def _class_folders(folder: Path, stamp: int) -> list[str]:
    """See :func:`class_folders`.  ``stamp`` changes with the content of the folder, which invalidates the cache."""
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise InputError(f"{folder} contains no class folders. Create one folder per class in it.")
    return found


def load(folder: Path) -> tuple[Split, Split]:
    """Return the training set and the test set: images uint8 ``[N, C, H, W]`` and labels int64 ``[N]``.

    Raises:
        InputError: the splits have different classes, a class has no images, a file cannot be read, or the images have
            different sizes.
    """
    train, test = class_folders(folder, "train"), class_folders(folder, "test")
    if train != test:
        odd = sorted(set(train) ^ set(test))
        raise InputError(
            f"The class folders of train and test in {folder} differ: {', '.join(odd)} exists in only one of them. "
            "Use the same classes in both."
        )
    size = _image_size(folder)
    loaded = {split: _read(folder / split, train, size) for split in ("train", "test")}
    _refuse_unequal(loaded)
    gray = all(image.ndim == 2 for images, _ in loaded.values() for image in images.values())
    first, second = (_arrays(images, labels, gray) for images, labels in loaded.values())
    return first, second


Images = dict[Path, npt.NDArray[np.uint8]]


def _read(split: Path, classes: list[str], size: tuple[int, int] | None) -> tuple[Images, list[int]]:
    """Return the pixels of each file, ``[H, W]`` or ``[H, W, 3]``, and the labels of the files."""
    images: Images = {}
    labels = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (split / name).iterdir() if path.suffix.lower() in EXTENSIONS)
        if not files:
            raise InputError(f"{split / name} contains no images. Expected files ending in {', '.join(EXTENSIONS)}.")
        for path in files:
            cancellation.check()
            images[path] = read_image(path, size)
            labels.append(label)
    return images, labels


def read_image(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image file, uint8 ``[H, W]`` if it is grayscale, else ``[H, W, 3]``.

    Args:
        path: the file.
        size: height and width to resize to.

    Raises:
        InputError: the file cannot be read completely or has more than 8 bits per channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(DEEP_MODES):
                raise InputError(f"{path} has more than 8 bits per channel. Convert it to 8 bits per channel.")
            pixels = image.convert("L" if image.mode in GRAYSCALE_MODES else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"Cannot read the image {path}: {reason}. Replace or remove it.") from error
    if size is not None and pixels.size != size[::-1]:
        pixels = pixels.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(pixels)


def _refuse_unequal(loaded: dict[str, tuple[Images, list[int]]]) -> None:
    shapes = {path: image.shape[:2] for images, _ in loaded.values() for path, image in images.items()}
    first = next(iter(shapes))
    for path, (height, width) in shapes.items():
        if (height, width) != shapes[first]:
            usual = "×".join(map(str, shapes[first]))
            raise InputError(
                f"{path} has {height}×{width} pixels, but {first} has {usual}. Make them equal, or write "
                f"image_size: [HEIGHT, WIDTH] into {first.parents[2] / SETTINGS}."
            )


def _arrays(images: Images, labels: list[int], gray: bool) -> Split:
    first = next(iter(images.values()))
    joined = np.empty((len(images), 1 if gray else 3, *first.shape[:2]), dtype=np.uint8)
    for row, image in enumerate(images.values()):
        joined[row] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return joined, np.array(labels, dtype=np.int64)


def _image_size(folder: Path) -> tuple[int, int] | None:
    settings: dict[str, Any] = yaml_settings(folder / SETTINGS, ("image_size",))
    size = settings.get("image_size")
    if size is None:
        return None
    pair = [size, size] if isinstance(size, int) else size
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int and 1 <= n <= LARGEST_SIDE for n in pair):
        raise InputError(
            f"{folder / SETTINGS}: Invalid value for 'image_size': {size!r}. Expected one integer or [HEIGHT, WIDTH], "
            f"each from 1 to {LARGEST_SIDE}."
        )
    return pair[0], pair[1]


FAMILIES.add_finder(FolderFamilies())
