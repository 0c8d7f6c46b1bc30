"""Where the files of a downloaded dataset are: found in a data root, or downloaded into one.

Roots are searched in the order of :func:`rsc_mlflow.roots.data_roots`.  What is found nowhere is downloaded into the
first root that can be written to, in a staging folder and under a lock, so that neither a broken download nor two
processes at once can leave files that look whole and are not.
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
"""A download that gets no byte for this long has failed."""

_LOGGER = logging.getLogger(__name__)

Downloader = Callable[[Path], object]
"""Brings the files of a layout into its folder below an empty one."""


@dataclass(frozen=True)
class Layout:
    """The files of a family.

    Attributes:
        family: its name.
        source: what is downloaded together; names the lock and the staging folder.
        folder: where its files lie below a root.
        sums: file name → MD5 or SHA-1, told by their lengths.
        download: brings the files.
        more_folders: folders outside the roots that may hold the files.
        advice: further ways to get them, for the error that says there are none.
    """

    family: str
    source: str
    folder: str
    sums: Mapping[str, str]
    download: Downloader
    more_folders: tuple[Path, ...] = ()
    advice: tuple[str, ...] = ()


def by_torchvision(name: str) -> Downloader:
    """The downloader of the class of that name."""

    def download(folder: Path) -> None:
        from torchvision import datasets

        getattr(datasets, name)(folder, train=False, download=True)

    return download


def by_archive(url: str, md5: str) -> Downloader:
    """Downloads an archive, checks its sum and unpacks it."""

    def download(folder: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(url, str(folder), md5=md5)

    return download


def locate(layout: Layout, data_root: str | Path = "auto", others: Sequence[Layout] = ()) -> Path:
    """The folder that holds all files of the family, downloaded if they are nowhere.

    Args:
        layout: the layout that is preferred within a root, and downloaded.
        data_root: see :func:`rsc_mlflow.roots.data_roots`.
        others: further layouts that are taken as they are found.

    Raises:
        InputError: a given root is no folder, or there is no data and it could not be downloaded.
    """
    roots = data_roots(data_root)
    places = [(root / one.folder, one) for root in roots for one in (layout, *others)]
    for folder, one in (*places, *((folder, layout) for folder in layout.more_folders)):
        if _is_complete(folder, one):
            return folder
    return _download(layout, roots, others)


def stored_file(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder; idx files also packed, as ``.gz``; None if there is none."""
    names = [name, f"{name}.gz"] if name.endswith(IDX_SUFFIX) else [name]
    return next((folder / candidate for candidate in names if os.path.isfile(folder / candidate)), None)


def verify(path: Path, expected: str, stored_as: Path | None = None) -> None:
    """Check the sum of a file; ``stored_as`` is the name to report when ``path`` is an unpacked copy of it.

    Raises:
        InputError: the sum differs (the file is truncated or corrupted), or the file cannot be read.
    """
    reported = stored_as or path
    name = "SHA-1" if len(expected) == 40 else "MD5"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: _hash(name)).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {reported}: {error.strerror}; check the file and its permissions") from error
    if found != expected:
        raise InputError(
            f"{reported} is truncated or corrupted: {path.stat().st_size} bytes with {name} {found}, "
            f"expected {name} {expected}; restore it, or delete it so that another copy is used or downloaded"
        )


def _hash(name: str) -> "hashlib._Hash":
    return hashlib.sha1(usedforsecurity=False) if name == "SHA-1" else hashlib.md5(usedforsecurity=False)


def _is_complete(folder: Path, layout: Layout) -> bool:
    return all(stored_file(folder, name) for name in layout.sums)


def _download(layout: Layout, roots: list[Path], others: Sequence[Layout]) -> Path:
    root = next(filter(_is_writable, roots), None)
    if root is None:
        raise InputError(_ways_out(layout, others, roots, "none of these folders can be written to"))
    folder = root / layout.folder
    try:
        with _lock(root / f".{layout.source}.lock", layout.family):
            if not _is_complete(folder, layout):  # another process may have brought it meanwhile
                _fetch(layout, root)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(_ways_out(layout, others, roots, f"the download failed ({reason})")) from error
    return folder


def _fetch(layout: Layout, root: Path) -> None:
    """Download into a staging folder beside the final one, verify, and only then move each file to its place."""
    _LOGGER.warning("downloading %s into %s", layout.family, root)
    staging = root / f".{layout.source}.partial"
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
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


def _ways_out(layout: Layout, others: Sequence[Layout], roots: list[Path], reason: str) -> str:
    files = " or ".join(f"{one.folder} ({', '.join(one.sums)})" for one in (layout, *others))
    ways = [
        "run again with a network connection",
        f"put {files} into one of these folders",
        f"name the folder that has it with data_root or {ENVIRONMENT_VARIABLE}",
    ]
    ways.extend(layout.advice)
    ways.append("use the family digits, which needs no files")
    looked_in = ", ".join(map(str, roots))
    return f"no data for {layout.family!r}: not found in {looked_in}, and {reason}; ways out: {'; '.join(ways)}"
