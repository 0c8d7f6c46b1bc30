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
    """What to say about an error whose cause is a full disk, which seldom names the file; else None."""
    while error is not None and not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    return f"{error}; free some space in the artifact folder or in the temporary folder ({_place()})"


def _process_dir() -> Path:
    lease = _leases.get(os.getpid())
    if lease is None or not lease.path.is_dir():
        try:
            lease = TempDirLease.acquire("work")
        except OSError as error:
            raise InputError(f"the temporary folder ({_place()}) cannot be written ({error.strerror})") from error
        _leases[os.getpid()] = lease
        util.Finalize(None, lease.remove, exitpriority=0)  # unlike atexit it also runs in multiprocessing's children
    return lease.path


def _place() -> str:
    return f"{tempfile.tempdir or os.environ.get('TMPDIR', '/tmp')}, chosen by TMPDIR"


def _remove_abandoned(kind: str) -> None:
    for path in Path(tempfile.gettempdir()).glob(f"rsc-{kind}-*"):
        with suppress(OSError):  # in use, or just removed by another process
            if path.lstat().st_uid == os.getuid() and not path.is_symlink():
                with (path / _LOCK).open("r+b") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
