"""Patterns that are pictures: ``DATA_ROOT/patterns/NAME.png`` or ``NAME.npy``, with settings in ``NAME.yaml``.

The pattern has the color (or gray) and, where the picture is transparent, the mask of the picture.  ``NAME.yaml``:

    mode: replace        # or add
    strength: 1.0        # replace: opacity from 0 to 1; add: factor
    position: [0, 0]     # row and column of the upper left corner; or top-left, top-right, bottom-left,
                         # bottom-right, center

With mask m in [0, 1], picture p and strength s, ``replace`` gives (1 - s·m)·x + s·m·p, and ``add`` gives
clip(x + s·m·p, 0, 1).  On grayscale images a color picture is used as its luminance.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsc_mlflow.errors import InputError
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
"""Weights of red, green and blue (ITU-R BT.601), as Pillow converts color to gray."""
LARGEST_SIDE = 4096
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that is put on images.

    Attributes:
        pixels: float32 ``[C, h, w]`` with C 1 or 3.
        mask: float32 ``[h, w]`` in [0, 1].
        mode: ``replace`` or ``add``.
        strength: opacity, or factor.
        position: row and column, or one of :data:`POSITIONS`.
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
        """Row and column of its upper left corner on images of this size."""
        if not isinstance(self.position, str):
            return self.position
        down, right = height - self.mask.shape[0], width - self.mask.shape[1]
        if self.position == "center":
            return down // 2, right // 2
        return down if "bottom" in self.position else 0, right if "right" in self.position else 0

    def smallest(self) -> tuple[int, int]:
        """Height and width of the smallest images that hold it whole."""
        top, left = (0, 0) if isinstance(self.position, str) else self.position
        return top + self.mask.shape[0], left + self.mask.shape[1]

    def _in_channels(self, channels: int) -> Pixels:
        if len(self.pixels) == channels or len(self.pixels) == 1:
            return self.pixels
        gray = np.tensordot(np.array(LUMINANCE, dtype=np.float32), self.pixels, axes=1)
        return gray[None].astype(np.float32)


class PicturePatterns:
    """The patterns that are pictures in one of the roots."""

    def names(self) -> list[str]:
        """Names of all pictures that a name could stand for."""
        found = (path for root in name_roots() if (root / FOLDER).is_dir() for path in (root / FOLDER).iterdir())
        return sorted({path.stem for path in found if path.suffix in EXTENSIONS and is_name(path.stem)})

    def has(self, name: str) -> bool:
        """Whether there is a picture of this name."""
        return bool(_files_of(name))

    def find(self, name: str) -> Pattern | None:
        """The picture of that name in the first root that has one.

        Raises:
            InputError: the name is not allowed, there are two files of that name, or one cannot be read or used.
        """
        files = _files_of(name)
        return self._pattern(name, files) if files else None

    def _pattern(self, name: str, files: list[Path]) -> Pattern:
        if problem := pattern_name_problem(name):
            raise InputError(f"the picture {files[0]} cannot be a pattern: {problem}; rename it")
        if len(files) > 1:
            raise InputError(f"{files[0]} and {files[1]} are one pattern's name; remove one of them")
        settings = files[0].with_suffix(".yaml")
        stamps = tuple(path.stat().st_mtime_ns for path in (files[0], settings) if path.is_file())
        picture = _picture(files[0], settings, stamps)
        return Pattern(picture, name, smallest=picture.smallest())


def _files_of(name: str) -> list[Path]:
    """The pictures of that name in the first root that has one."""
    if not is_name(name):
        return []
    folders = (root / FOLDER for root in name_roots())
    found = ([path for end in EXTENSIONS if (path := folder / f"{name}{end}").is_file()] for folder in folders)
    return next(filter(None, found), [])


@lru_cache(maxsize=64)
def _picture(path: Path, settings: Path, stamps: tuple[int, ...]) -> Picture:
    """``stamps`` change with the files."""
    values = yaml_settings(settings, ("mode", "strength", "position"))
    mode, strength, position = (
        values.get("mode", "replace"),
        values.get("strength", 1.0),
        values.get("position", [0, 0]),
    )
    if mode not in MODES:
        raise InputError(f"{settings}: mode is {mode!r}; accepted: {', '.join(MODES)}")
    most = 1.0 if mode == "replace" else sys.float_info.max
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= most:
        raise InputError(f"{settings}: strength is {strength!r}; accepted: above 0, and at most 1 to replace")
    pixels = _read_array(path, mode) if path.suffix == ".npy" else _read_picture(path)
    color, mask = (pixels[..., :-1], pixels[..., -1]) if pixels.shape[-1] in (2, 4) else (pixels, None)
    mask = np.ones(pixels.shape[:2], dtype=np.float32) if mask is None else mask
    if not mask.any():
        raise InputError(f"{path} is wholly transparent; a pattern must change some pixel")
    channels_first = np.ascontiguousarray(color.transpose(2, 0, 1))
    return Picture(channels_first, np.ascontiguousarray(mask), mode, float(strength), _position(settings, position))


def _position(settings: Path, value: Any) -> tuple[int, int] | str:
    if isinstance(value, str) and value in POSITIONS:
        return value
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 <= n < LARGEST_SIDE for n in value):
        return value[0], value[1]
    raise InputError(f"{settings}: position is {value!r}; accepted: [ROW, COLUMN] or {', '.join(POSITIONS)}")


def _read_picture(path: Path) -> Pixels:
    """Pixels in [0, 1], ``[h, w, channels]`` with 1 or 3 channels of color and one of opacity where there is one."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise InputError(f"{path} has pixels of more than 8 bits; convert it to 8 bits a channel")
            transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
            gray = image.mode in ("1", "L", "LA", "La")
            target = {(True, True): "LA", (True, False): "L", (False, True): "RGBA", (False, False): "RGB"}
            pixels = np.asarray(image.convert(target[gray, transparent]), dtype=np.float32) / np.float32(255)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read the picture {path}: {' '.join(str(error).split())}; replace it") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _read_array(path: Path, mode: str) -> Pixels:
    """As :func:`_read_picture`, from ``[h, w]`` or ``[h, w, 1 to 4]``: uint8, or floats in [0, 1] (added: [-1, 1])."""
    array: npt.NDArray[Any]
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read the array {path}: {' '.join(str(error).split())}; replace it") from error
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or not array.size or max(array.shape) > LARGEST_SIDE:
        raise InputError(f"{path} has the shape {array.shape}; accepted: [height, width] or [height, width, 1 to 4]")
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    lowest = -1 if mode == "add" else 0
    if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= lowest and array.max() <= 1):
        raise InputError(f"{path} has values of type {array.dtype}; accepted: uint8, or numbers from {lowest} to 1")
    return array.astype(np.float32)


PATTERNS.add_finder(PicturePatterns())
