"""Where the files of a real data set are: found in a data root, or downloaded into one.

Roots are searched in this order: the ``data_root`` option, the environment variable ``RSC_DATA_ROOT``, the
per-user cache folder.  Inside a root the layout is torchvision's.  Fashion-MNIST is also taken from the folder
of Debian's package ``dataset-fashion-mnist``.  What is found nowhere is downloaded by torchvision into the
first root that can be written to, in a staging folder and under a lock, so that neither a broken download nor
two processes at once can leave files that look whole and are not.
"""

import hashlib
import http.client
import logging
import os
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from rsc_mlflow.errors import InputError

ENVIRONMENT_VARIABLE = "RSC_DATA_ROOT"
DEBIAN_FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IDX_SUFFIX = "-ubyte"
STALL_SECONDS = 30.0
"""A download that gets no byte for this long has failed."""

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the *uncompressed* files; torchvision checks only the archives, and those only while downloading."""

FASHION_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """The files of a family: torchvision's class, the folder below a root, and the MD5 of each file."""

    torchvision_class: str
    folder: str
    md5: Mapping[str, str]


def layout_of(family: str) -> Layout:
    """The files of a family that has files (all but ``digits``)."""
    if family == "mnist":
        return Layout("MNIST", "MNIST/raw", MNIST_MD5)
    if family == "fashion":
        return Layout("FashionMNIST", "FashionMNIST/raw", FASHION_MD5)
    from torchvision import datasets

    source = datasets.CIFAR10 if family == "cifar10" else datasets.CIFAR100
    md5 = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    return Layout(source.__name__, source.base_folder, md5)


def locate(family: str, data_root: str | Path = "auto") -> Path:
    """The folder that holds all files of the family, downloaded if they are nowhere.

    Raises:
        InputError: a given root is no folder, or there is no data and it could not be downloaded.
    """
    layout = layout_of(family)
    roots = data_roots(data_root)
    folders = [root / layout.folder for root in roots]
    if family == "fashion":
        folders.append(DEBIAN_FASHION_FOLDER)
    for folder in folders:
        if _is_complete(folder, layout):
            return folder
    return _download(family, layout, roots)


def data_roots(data_root: str | Path = "auto") -> list[Path]:
    """The roots to search, in order: the option (unless ``auto``), the environment variable, the user's cache.

    Raises:
        InputError: the option or the environment variable names no existing folder.
    """
    given = {
        "data_root": "" if str(data_root) == "auto" else str(data_root),
        ENVIRONMENT_VARIABLE: os.environ.get(ENVIRONMENT_VARIABLE, ""),
    }
    roots = []
    for source, text in given.items():
        if not text:
            continue
        root = _folder(text)
        if root is None:
            raise InputError(f"{source} {text!r} is not a folder; accepted: an existing folder, or leave it out")
        roots.append(root)
    roots.append(platformdirs.user_cache_path("rsc-mlflow", appauthor=False))
    return list(dict.fromkeys(roots))


def _folder(text: str) -> Path | None:
    """The existing folder of that name, if there is one."""
    try:
        root = Path(os.path.expanduser(text)).resolve()
        return root if root.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long, no text a file system takes, a link to itself
        return None


def stored_file(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder; idx files also packed, as ``.gz``; None if there is none."""
    names = [name, f"{name}.gz"] if name.endswith(IDX_SUFFIX) else [name]
    return next((folder / candidate for candidate in names if os.path.isfile(folder / candidate)), None)


def verify(path: Path, expected: str, stored_as: Path | None = None) -> None:
    """Check the MD5 of a file; ``stored_as`` is the name to report when ``path`` is an unpacked copy of it.

    Raises:
        InputError: the sum differs (the file is truncated or corrupted), or the file cannot be read.
    """
    reported = stored_as or path
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {reported}: {error.strerror}; check the file and its permissions") from error
    if found != expected:
        raise InputError(
            f"{reported} is truncated or corrupted: {path.stat().st_size} bytes with MD5 {found}, "
            f"expected MD5 {expected}; restore it, or delete it so that it is downloaded again"
        )


def _is_complete(folder: Path, layout: Layout) -> bool:
    return all(stored_file(folder, name) for name in layout.md5)


def _download(family: str, layout: Layout, roots: list[Path]) -> Path:
    root = next(filter(_is_writable, roots), None)
    if root is None:
        raise InputError(_ways_out(family, layout, roots, "none of these folders can be written to"))
    folder = root / layout.folder
    try:
        with _lock(root / f".{layout.torchvision_class}.lock", family):
            if not _is_complete(folder, layout):  # another process may have brought it meanwhile
                _fetch(family, layout, root)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(_ways_out(family, layout, roots, f"the download failed ({reason})")) from error
    return folder


def _fetch(family: str, layout: Layout, root: Path) -> None:
    """Download into a staging folder beside the final one, verify, and only then move each file to its place."""
    from torchvision import datasets

    _LOGGER.warning("downloading %s into %s", family, root)
    staging = root / f".{layout.torchvision_class}.partial"
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        with _socket_timeout(STALL_SECONDS):
            getattr(datasets, layout.torchvision_class)(staging, train=False, download=True)
        for name, md5 in layout.md5.items():
            verify(staging / layout.folder / name, md5)
        (root / layout.folder).mkdir(parents=True, exist_ok=True)
        for name in layout.md5:
            os.replace(staging / layout.folder / name, root / layout.folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _lock(path: Path, family: str) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1.0)
    except Timeout:
        _LOGGER.warning("another process is downloading %s into %s; waiting for it", family, path.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision's downloader sets no timeout of its own, so an unreachable host would hang for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _is_writable(root: Path) -> bool:
    """Whether files can be made in the root (made first if it is missing).

    A folder without any write permission counts as read-only even for the superuser, who could write to it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        mode = root.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)) and os.access(root, os.W_OK)


def _ways_out(family: str, layout: Layout, roots: list[Path], reason: str) -> str:
    ways = [
        "run again with a network connection",
        f"put torchvision's {layout.folder} ({', '.join(layout.md5)}) into one of these folders",
        f"name the folder that has it with data_root or {ENVIRONMENT_VARIABLE}",
    ]
    if family == "fashion":
        ways.append(f"install Debian's package dataset-fashion-mnist (read from {DEBIAN_FASHION_FOLDER})")
    ways.append("use the family digits, which needs no files")
    looked_in = ", ".join(map(str, roots))
    return f"no data for {family!r}: not found in {looked_in}, and {reason}; ways out: {'; '.join(ways)}"
