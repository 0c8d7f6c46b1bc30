"""Functions that find the files of a dataset in a data root, or download them into one.

Roots are searched in the order of :func:`rsc_mlflow.roots.data_roots`.  If the files are in none of them, they are
downloaded into the first writable root: under a lock, and into a staging folder first, so that interrupted or
concurrent downloads never leave incomplete files.
"""

import hashlib
import http.client
import logging
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from rsc_mlflow.errors import InputError
from rsc_mlflow.roots import ENVIRONMENT_VARIABLE, data_roots

IDX_SUFFIX = "-ubyte"
STALL_SECONDS = 30.0
"""A download that receives no data for this many seconds fails."""

_logger = logging.getLogger(__name__)

Downloader = Callable[[Path], object]
"""A function of an empty folder; it downloads the files of a layout into that layout's subfolder."""


@dataclass(frozen=True)
class Layout:
    """The files of a family.

    Attributes:
        family: name of the family.
        source: name of the download, used for the lock file and the staging folder.
        folder: folder of the files, relative to a data root.
        sums: file names and their MD5 or SHA-1 sums (distinguished by length), in hexadecimal digits.
        download: downloads the files.
        more_folders: folders outside the data roots that may contain the files.
        advice: further ways to get the files, for the error message.
    """

    family: str
    source: str
    folder: str
    sums: Mapping[str, str]
    download: Downloader
    more_folders: tuple[Path, ...] = ()
    advice: tuple[str, ...] = ()


def by_torchvision(name: str) -> Downloader:
    """Return the downloader of torchvision's dataset class of this name."""

    def download(folder: Path) -> None:
        from torchvision import datasets

        getattr(datasets, name)(folder, train=False, download=True)

    return download


def by_archive(url: str, md5: str) -> Downloader:
    """Return a downloader that downloads an archive, verifies its MD5 sum and unpacks it."""

    def download(folder: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(url, str(folder), md5=md5)

    return download


def locate(layout: Layout, data_root: str | Path = "auto", others: Sequence[Layout] = ()) -> Path:
    """Return the folder with all files of the family; download them if they are not found.

    Args:
        layout: the layout that is preferred within each data root, and that is downloaded.
        data_root: see :func:`rsc_mlflow.roots.data_roots`.
        others: further accepted layouts.

    Raises:
        InputError: a given root is not a folder, or the files were not found and could not be downloaded.
    """
    roots = data_roots(data_root)
    places = [(root / one.folder, one) for root in roots for one in (layout, *others)]
    for folder, one in (*places, *((folder, layout) for folder in layout.more_folders)):
        if _is_complete(folder, one):
            return folder
    return _download(layout, roots, others)


def stored_file(folder: Path, name: str) -> Path | None:
    """Return the path of a file in the folder (for idx files also ``.gz``), or None if it does not exist."""
    names = [name, f"{name}.gz"] if name.endswith(IDX_SUFFIX) else [name]
    return next((folder / candidate for candidate in names if os.path.isfile(folder / candidate)), None)


def verify(path: Path, expected: str, stored_as: Path | None = None) -> None:
    """Verify the checksum of a file.

    Args:
        path: the file.
        expected: MD5 or SHA-1 sum, in hexadecimal digits.
        stored_as: the file to name in messages, if ``path`` is an unpacked copy of it.

    Raises:
        InputError: the checksum differs (the file is truncated or corrupted), or the file cannot be read.
    """
    reported = stored_as or path
    name = "SHA-1" if len(expected) == 40 else "MD5"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: _hash(name)).hexdigest()
    except OSError as error:
        raise InputError(f"Cannot read {reported}: {error.strerror}. Check the file and its permissions.") from error
    if found != expected:
        raise InputError(
            f"{reported} is truncated or corrupted: {path.stat().st_size} bytes with {name} {found}, "
            f"expected {name} {expected}. Restore it, or delete it so that another copy is used or downloaded."
        )


def _hash(name: str) -> "hashlib._Hash":
    return hashlib.sha1(usedforsecurity=False) if name == "SHA-1" else hashlib.md5(usedforsecurity=False)


def _is_complete(folder: Path, layout: Layout) -> bool:
    return all(stored_file(folder, name) for name in layout.sums)


def _download(layout: Layout, roots: list[Path], others: Sequence[Layout]) -> Path:
    root = next(filter(_is_writable, roots), None)
    if root is None:
        raise InputError(_ways_out(layout, others, roots, "none of these folders is writable"))
    folder = root / layout.folder
    try:
        with _lock(root / f".{layout.source}.lock", layout.family):
            if not _is_complete(folder, layout):  # another process may have downloaded it meanwhile
                _fetch(layout, root)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(_ways_out(layout, others, roots, f"the download failed ({reason})")) from error
    return folder


def _fetch(layout: Layout, root: Path) -> None:
    """Download into a staging folder, verify the files, then move them to their final folder."""
    _logger.info("Downloading %s into %s", layout.family, root)
    staging = root / f".{layout.source}.partial"
    shutil.rmtree(staging, ignore_errors=True)  # a process that was killed may have left it
    staging.mkdir()
    try:
        with _socket_timeout(STALL_SECONDS):
            layout.download(staging)
        for name, expected in layout.sums.items():
            verify(staging / layout.folder / name, expected)
        (root / layout.folder).mkdir(parents=True, exist_ok=True)
        for name in layout.sums:
            os.replace(staging / layout.folder / name, root / layout.folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _lock(path: Path, family: str) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1.0)
    except Timeout:
        _logger.info("Waiting for another process that downloads %s into %s", family, path.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set a timeout for downloads by torchvision, which would otherwise wait minutes for an unreachable host."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _is_writable(root: Path) -> bool:
    """Return whether files can be created in the root; create the root if it is missing.

    A folder without write permissions counts as read-only even for the superuser.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        mode = root.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)) and os.access(root, os.W_OK)


def _ways_out(layout: Layout, others: Sequence[Layout], roots: list[Path], reason: str) -> str:
    files = " or ".join(f"{one.folder} ({', '.join(one.sums)})" for one in (layout, *others))
    ways = [
        "run again with a network connection",
        f"put {files} into one of these folders",
        f"set data_root or {ENVIRONMENT_VARIABLE} to the folder that contains it",
    ]
    ways.extend(layout.advice)
    ways.append("use the family digits, which needs no files")
    looked_in = ", ".join(map(str, roots))
    return f"No data for {layout.family!r}: not found in {looked_in}, and {reason}. You can {'; or '.join(ways)}."
