"""Patterns from image files: ``DATA_ROOT/patterns/NAME.png`` or ``NAME.npy``, with settings in ``NAME.yaml``.

The picture's alpha channel, if any, is the mask of the pattern.  ``NAME.yaml`` may contain:

    mode: replace        # or add
    strength: 1.0        # replace: opacity from 0 to 1; add: factor
    position: [0, 0]     # row and column of the upper left corner; or top-left, top-right, bottom-left,
                         # bottom-right, center

With mask m in [0, 1], picture p and strength s, ``replace`` gives (1 - s·m)·x + s·m·p and ``add`` gives
clip(x + s·m·p, 0, 1).  On grayscale images, the luminance of a color picture is used.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsc_mlflow.errors import InputError, invalid_value
from rsc_mlflow.patterns import PATTERNS, Pattern
from rsc_mlflow.roots import name_roots
from rsc_mlflow.user_files import is_name, pattern_name_problem, yaml_settings

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "patterns"
EXTENSIONS = (".png", ".npy")
MODES = ("replace", "add")
POSITIONS = ("top-left", "top-right", "bottom-left", "bottom-right", "center")
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as in Pillow's conversion from color to gray."""
LARGEST_SIDE = 4096
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Picture:
    """A pattern that puts a picture on images.

    Attributes:
        pixels: float32 ``[C, h, w]`` with C = 1 or 3.
        mask: float32 ``[h, w]`` in [0, 1].
        mode: ``replace`` or ``add``.
        strength: opacity (``replace``) or factor (``add``).
        position: row and column of the upper left corner, or one of :data:`POSITIONS`.
    """

    pixels: Pixels
    mask: Pixels
    mode: str = "replace"
    strength: float = 1.0
    position: tuple[int, int] | str = (0, 0)

    def __call__(self, images: "Tensor", seed: int) -> "Tensor":
        """See :data:`rsc_mlflow.patterns.Apply`."""
        import torch

        channels, height, width = images.shape[1:]
        top, left = self.corner(height, width)
        picture = torch.from_numpy(self._in_channels(channels)).to(images.device)
        weight = self.strength * torch.from_numpy(self.mask).to(images.device)
        patterned = images.clone()
        part = patterned[:, :, top : top + self.mask.shape[0], left : left + self.mask.shape[1]]
        changed = part + weight * picture if self.mode == "add" else part * (1 - weight) + weight * picture
        part.copy_(changed.clamp_(0.0, 1.0))
        return patterned

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """Return the row and column of the upper left corner on images of this size."""
        if not isinstance(self.position, str):
            return self.position
        down, right = height - self.mask.shape[0], width - self.mask.shape[1]
        if self.position == "center":
            return down // 2, right // 2
        return down if "bottom" in self.position else 0, right if "right" in self.position else 0

    def smallest(self) -> tuple[int, int]:
        """Return the height and width of the smallest images that contain the whole picture."""
        top, left = (0, 0) if isinstance(self.position, str) else self.position
        return top + self.mask.shape[0], left + self.mask.shape[1]

    def _in_channels(self, channels: int) -> Pixels:
        if len(self.pixels) == channels or len(self.pixels) == 1:
            return self.pixels
        gray = np.tensordot(np.array(LUMINANCE, dtype=np.float32), self.pixels, axes=1)
        return gray[None].astype(np.float32)


class PicturePatterns:
    """The patterns defined by image files in the data roots."""

    def names(self) -> list[str]:
        """Return the names of all image files that are valid pattern names."""
        found = (path for root in name_roots() if (root / FOLDER).is_dir() for path in (root / FOLDER).iterdir())
        return sorted({path.stem for path in found if path.suffix in EXTENSIONS and is_name(path.stem)})

    def has(self, name: str) -> bool:
        """Return whether there is an image file of this name."""
        return bool(_files_of(name))

    def find(self, name: str) -> Pattern | None:
        """Return the pattern from the first data root that has an image file of this name.

        Raises:
            InputError: the name is not allowed, there are two files of this name, or the file cannot be read or used.
        """
        files = _files_of(name)
        return self._pattern(name, files) if files else None

    def _pattern(self, name: str, files: list[Path]) -> Pattern:
        if problem := pattern_name_problem(name):
            raise InputError(f"Cannot use {files[0]} as a pattern: {problem}. Rename the file.")
        if len(files) > 1:
            raise InputError(f"{files[0]} and {files[1]} define the same pattern. Remove one of them.")
        settings = files[0].with_suffix(".yaml")
        stamps = tuple(path.stat().st_mtime_ns for path in (files[0], settings) if path.is_file())
        picture = _picture(files[0], settings, stamps)
        return Pattern(picture, name, smallest=picture.smallest())


def _files_of(name: str) -> list[Path]:
    """Return the image files of this name in the first data root that has one."""
    if not is_name(name):
        return []
    folders = (root / FOLDER for root in name_roots())
    found = ([path for end in EXTENSIONS if (path := folder / f"{name}{end}").is_file()] for folder in folders)
    return next(filter(None, found), [])


@lru_cache(maxsize=64)
def _picture(path: Path, settings: Path, stamps: tuple[int, ...]) -> Picture:
    """Read a picture and its settings.  ``stamps`` change with the files, which invalidates the cache."""
    values = yaml_settings(settings, ("mode", "strength", "position"))
    mode, strength, position = (
        values.get("mode", "replace"),
        values.get("strength", 1.0),
        values.get("position", [0, 0]),
    )
    if mode not in MODES:
        raise InputError(f"{settings}: {invalid_value('mode', mode, ' or '.join(MODES))}")
    most = 1.0 if mode == "replace" else sys.float_info.max
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= most:
        expected = "a number > 0 and, if mode is replace, ≤ 1"
        raise InputError(f"{settings}: {invalid_value('strength', strength, expected)}")
    pixels = _read_array(path, mode) if path.suffix == ".npy" else _read_picture(path)
    color, mask = (pixels[..., :-1], pixels[..., -1]) if pixels.shape[-1] in (2, 4) else (pixels, None)
    mask = np.ones(pixels.shape[:2], dtype=np.float32) if mask is None else mask
    if mask.min() < 0:
        raise InputError(f"The alpha channel of {path} has values below 0. Expected values from 0 to 1.")
    if not mask.any():
        raise InputError(f"{path} is fully transparent. A pattern must change at least one pixel.")
    channels_first = np.ascontiguousarray(color.transpose(2, 0, 1))
    return Picture(channels_first, np.ascontiguousarray(mask), mode, float(strength), _position(settings, position))


def _position(settings: Path, value: Any) -> tuple[int, int] | str:
    if isinstance(value, str) and value in POSITIONS:
        return value
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 <= n < LARGEST_SIDE for n in value):
        return value[0], value[1]
    expected = f"[ROW, COLUMN] or {', '.join(POSITIONS)}"
    raise InputError(f"{settings}: {invalid_value('position', value, expected)}")


def _read_picture(path: Path) -> Pixels:
    """Return pixels in [0, 1], ``[h, w, channels]``: 1 or 3 color channels, then the alpha channel if there is one."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise InputError(f"{path} has more than 8 bits per channel. Convert it to 8 bits per channel.")
            transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
            gray = image.mode in ("1", "L", "LA", "La")
            target = {(True, True): "LA", (True, False): "L", (False, True): "RGBA", (False, False): "RGB"}
            pixels = np.asarray(image.convert(target[gray, transparent]), dtype=np.float32) / np.float32(255)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Cannot read the image {path}: {' '.join(str(error).split())}. Replace it.") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _read_array(path: Path, mode: str) -> Pixels:
    """Return pixels with the channels of :func:`_read_picture`.

    The file contains ``[h, w]`` or ``[h, w, 1 to 4]``, uint8 or floats in [0, 1] (mode ``add``: colors in [-1, 1]).
    """
    array: npt.NDArray[Any]
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"Cannot read the array {path}: {' '.join(str(error).split())}. Replace it.") from error
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or not array.size or max(array.shape) > LARGEST_SIDE:
        raise InputError(
            f"Invalid shape of {path}: {array.shape}. Expected [height, width] or [height, width, 1 to 4], at most "
            f"{LARGEST_SIDE} pixels per side."
        )
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    lowest = -1 if mode == "add" else 0
    if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= lowest and array.max() <= 1):
        raise InputError(
            f"Invalid values of type {array.dtype} in {path}. Expected uint8, or floating point from {lowest} to 1."
        )
    return array.astype(np.float32)


PATTERNS.add_finder(PicturePatterns())
