"""Folders for files on their way: one a process, removed when it ends, or by a later process where it was killed.

The owner of a folder holds a lock on a file in it for as long as it lives.  The system lets go of the lock however
a process ends, ``kill -9`` included, so whoever gets the lock knows that the owner is gone.  Process numbers could not
tell: they are used again, and mean nothing in another container that shares the folder for temporary files.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path

from rsc_mlflow.errors import InputError

_LOCK = "owner.lock"
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_TRIAL_BYTES = 65_536


@dataclass(frozen=True)
class Held:
    """A folder whose owner, this process, is alive."""

    path: Path
    _lock: int

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def hold(kind: str) -> Held:
    """A new folder ``rsc-{kind}-…`` of this process among the temporary files, to be removed by the caller.

    Folders of the same kind whose owner was killed are removed first.
    """
    _remove_dead(kind)
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"rsc-{kind}-"))
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if _own_it(lock) and (path / _LOCK).exists():
            return Held(path, lock)
        os.close(lock)  # taken for a dead one's in the moment before it was locked


def _own_it(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: then nobody else gets one either
        return True
    return True


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder for the time of the block, inside that of this process."""
    with tempfile.TemporaryDirectory(dir=_own.folder()) as name:
        yield Path(name)


def lasting() -> Path:
    """A folder that the caller removes, or the end of this process."""
    return Path(tempfile.mkdtemp(dir=_own.folder()))


def complaint(error: BaseException | None) -> str | None:
    """What to say about an error that comes from a temporary folder without room or permission; else None.

    Such an error seldom names its file, so a small file is written there to find out.
    """
    while error is not None and not (isinstance(error, OSError) and error.errno in _REFUSED):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    try:
        with tempfile.TemporaryFile(dir=_place()) as file:
            file.write(bytes(_TRIAL_BYTES))
    except OSError as refused:
        return _unwritable(refused)
    return None


def _unwritable(error: OSError) -> str:
    why = error.strerror or str(error)
    return f"the temporary folder {_place()} cannot be written ({why}); free some space there or set TMPDIR to another"


def _place() -> str:
    """Where Python puts temporary files, or would if it could write there."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return os.environ.get("TMPDIR", "/tmp")


class _Own:
    """The folder of this process, made when it is first asked for; a forked process makes its own."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._held: Held | None = None
        self._making = threading.Lock()

    def folder(self) -> Path:
        with self._making:
            if self._held is None or not self._held.path.is_dir():
                try:
                    self._held = hold("work")
                except OSError as error:
                    raise InputError(_unwritable(error)) from error
                # unlike atexit, this works in workers of multiprocessing too, and never in a forked child
                util.Finalize(None, self._held.remove, exitpriority=0)
            return self._held.path


_own = _Own()


def _remove_dead(kind: str) -> None:
    for path in Path(tempfile.gettempdir()).glob(f"rsc-{kind}-*"):
        with contextlib.suppress(OSError):  # alive, or not ours, or just removed by another process
            _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        return
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
