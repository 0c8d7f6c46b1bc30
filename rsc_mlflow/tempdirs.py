"""Temporary directories: one per process, removed when it ends or, if it was killed, by a later process.

:mod:`tempfile` alone leaves the directory of a killed process behind, and a sweep that is killed often would fill the
disk.  The owner therefore holds a lock on a file in its directory.  The system releases the lock however the process
ends; process ids could not tell, because they are reused and mean nothing in another container.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path

from rsc_mlflow.errors import InputError

_LOCK = "owner.lock"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_TRIAL_BYTES = 65_536


@dataclass(frozen=True)
class TempDirLease:
    """A temporary directory that no other process removes while this one lives."""

    path: Path
    _lock: int

    @classmethod
    def acquire(cls, kind: str) -> "TempDirLease":
        """Make a directory ``rsc-{kind}-…``, after removing those of the same kind whose owner was killed."""
        _remove_abandoned(kind)
        path = Path(tempfile.mkdtemp(prefix=f"rsc-{kind}-"))
        lock = os.open(path / "new.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with suppress(OSError):  # a file system without locks: then no other process gets one either
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(path / "new.lock", path / _LOCK)  # other processes see the file only once it is locked
        return cls(path, lock)

    def remove(self) -> None:
        """Remove the directory and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


_leases: dict[int, TempDirLease] = {}  # process id → its directory: a forked process makes its own


@contextmanager
def tempdir() -> Iterator[Path]:
    """A directory for the time of the block."""
    with tempfile.TemporaryDirectory(dir=_process_dir()) as name:
        yield Path(name)


def persistent_tempdir() -> Path:
    """A directory that the caller removes, or the end of this process."""
    return Path(tempfile.mkdtemp(dir=_process_dir()))


def disk_error(error: BaseException | None) -> str | None:
    """What to say about an error caused by a temporary directory without room or permission; else None.

    Such an error seldom names its file, so a small file is written there to find out.
    """
    while error is not None and not (isinstance(error, OSError) and error.errno in _DISK_ERRORS):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_TRIAL_BYTES))
    except OSError as refused:
        return _unwritable(refused)
    return None


def _unwritable(error: OSError) -> str:
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:  # none can be written: then the one that was asked for
        folder = os.environ.get("TMPDIR", "/tmp")
    why = error.strerror or str(error)
    return f"the temporary folder {folder} cannot be written ({why}); free some space there or set TMPDIR to another"


def _process_dir() -> Path:
    lease = _leases.get(os.getpid())
    if lease is None or not lease.path.is_dir():
        try:
            lease = TempDirLease.acquire("work")
        except OSError as error:
            raise InputError(_unwritable(error)) from error
        _leases[os.getpid()] = lease
        util.Finalize(None, lease.remove, exitpriority=0)  # unlike atexit it also runs in multiprocessing's children
    return lease.path


def _remove_abandoned(kind: str) -> None:
    for path in Path(tempfile.gettempdir()).glob(f"rsc-{kind}-*"):
        with suppress(OSError):  # in use, or just removed by another process
            if path.lstat().st_uid == os.getuid() and not path.is_symlink():
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
