"""Families that are folders: ``DATA_ROOT/folders/NAME/{train,test}/CLASS/*.png``.

The layout is that of torchvision's ImageFolder.  Classes are numbered in the order of their folders' names; images come
class by class, in the order of the files' names.  If all images are grayscale they stay so (one channel); otherwise
all become RGB.  An alpha channel is left out.  ``family.yaml`` beside ``train`` may say ``image_size: 32`` or
``image_size: [HEIGHT, WIDTH]``: every image is then resized.  Without it all images must have one size.
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
DEEP_MODES = ("I", "F")  # and I;16…: more than 8 bits a pixel
LARGEST_SIDE = 4096


class FolderFamilies:
    """The families that are folders in one of the roots."""

    def names(self) -> list[str]:
        """Names of all folders that a name could stand for."""
        found = (path for root in name_roots() if (root / FOLDER).is_dir() for path in (root / FOLDER).iterdir())
        return sorted({path.name for path in found if is_name(path.name) and path.is_dir()})

    def has(self, name: str) -> bool:
        """Whether there is a folder of this name."""
        return _folder_of(name) is not None

    def find(self, name: str) -> Family | None:
        """The family in the first root that has a folder of this name.

        Raises:
            InputError: the name is not allowed, or the folder has no training set.
        """
        folder = _folder_of(name)
        if folder is None:
            return None
        if problem := family_name_problem(name):
            raise InputError(f"the folder {folder} cannot be a family: {problem}; rename it")
        classes = class_folders(folder, "train")
        return Family(len(classes), load, lambda root: _locate(name, root))


def _folder_of(name: str) -> Path | None:
    if not is_name(name):
        return None
    return next((path for root in name_roots() if (path := root / FOLDER / name).is_dir()), None)


def _locate(name: str, data_root: str | Path) -> Path:
    """The family's folder: in the roots of this option, else where its name is looked up."""
    roots = [*data_roots(data_root), *name_roots()]
    found = next((path for root in roots if (path := root / FOLDER / name).is_dir()), None)
    if found is None:
        raise InputError(f"there is no folder {FOLDER}/{name} in {', '.join(map(str, roots))}; restore it")
    return found


def class_folders(folder: Path, split: str) -> list[str]:
    """Names of the class folders of a split, in alphabetical order; hidden ones do not count.

    Raises:
        InputError: the split's folder is missing, or holds no folder.
    """
    if not (folder / split).is_dir():
        raise InputError(f"the family {folder.name} has no folder {folder / split}; put one folder per class into it")
    stamp = (folder / split).stat().st_mtime_ns
    return _class_folders(folder / split, stamp)


@cache
def _class_folders(folder: Path, stamp: int) -> list[str]:
    """``stamp`` changes with the content."""
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise InputError(f"{folder} holds no class folders; put one folder per class into it")
    return found


def load(folder: Path) -> tuple[Split, Split]:
    """Training and test set, uint8 ``[N, C, H, W]``.

    Raises:
        InputError: the splits have other classes, a class has no image, a file cannot be read or its size differs.
    """
    train, test = class_folders(folder, "train"), class_folders(folder, "test")
    if train != test:
        odd = sorted(set(train) ^ set(test))
        raise InputError(
            f"train and test of {folder} have other classes: {', '.join(odd)} in one only; make them equal"
        )
    size = _image_size(folder)
    loaded = {split: _read(folder / split, train, size) for split in ("train", "test")}
    _refuse_unequal(loaded)
    gray = all(image.ndim == 2 for images, _ in loaded.values() for image in images.values())
    first, second = (_arrays(images, labels, gray) for images, labels in loaded.values())
    return first, second


Images = dict[Path, npt.NDArray[np.uint8]]


def _read(split: Path, classes: list[str], size: tuple[int, int] | None) -> tuple[Images, list[int]]:
    """File → pixels ``[H, W]`` or ``[H, W, 3]``, and the files' labels."""
    images: Images = {}
    labels = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (split / name).iterdir() if path.suffix.lower() in EXTENSIONS)
        if not files:
            raise InputError(f"{split / name} holds no images; accepted: files ending in {', '.join(EXTENSIONS)}")
        for path in files:
            cancellation.check()
            images[path] = read_image(path, size)
            labels.append(label)
    return images, labels


def read_image(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Pixels of an image file, ``[H, W]`` if it is grayscale, else ``[H, W, 3]``; resized to ``size`` (H, W).

    Raises:
        InputError: it is not an image that can be read whole, or has more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(DEEP_MODES):
                raise InputError(f"{path} has pixels of more than 8 bits; convert it to 8 bits a channel")
            pixels = image.convert("L" if image.mode in GRAYSCALE_MODES else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read the image {path}: {reason}; replace or remove it") from error
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
                f"{path} has {height}×{width} pixels, {first} has {usual}; make them equal, or write "
                f"image_size: [HEIGHT, WIDTH] into {first.parents[2] / SETTINGS}"
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
            f"{folder / SETTINGS}: image_size is {size!r}; accepted: one whole number or [HEIGHT, WIDTH], each "
            f"from 1 to {LARGEST_SIDE}"
        )
    return pair[0], pair[1]


FAMILIES.add_finder(FolderFamilies())
