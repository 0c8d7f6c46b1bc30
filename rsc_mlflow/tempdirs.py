"""Temporary directories inside one directory per process, which is removed when the process ends.

It is removed by a finalizer of :mod:`multiprocessing`, because worker processes skip the clean-up of the interpreter,
on which :mod:`tempfile` relies.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import util
from pathlib import Path

from rsc_mlflow.errors import InputError

_directories: dict[int, Path] = {}  # process id → its directory; a forked process creates its own


@contextmanager
def tempdir() -> Iterator[Path]:
    """Create a temporary directory for the duration of the block."""
    with tempfile.TemporaryDirectory(dir=_process_dir()) as name:
        yield Path(name)


def persistent_tempdir() -> Path:
    """Create a temporary directory and return it.  It is removed when the process ends, or earlier by the caller."""
    return Path(tempfile.mkdtemp(dir=_process_dir()))


def disk_error(error: BaseException | None) -> str | None:
    """Return a message if the error was caused by a full disk, else None.  Such errors rarely name the file."""
    while error is not None and not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    return f"{error}; free some space in the artifact folder or in the temporary folder ({_place()})"


def _process_dir() -> Path:
    path = _directories.get(os.getpid())
    if path is None or not path.is_dir():
        try:
            path = Path(tempfile.mkdtemp(prefix="rsc-"))
        except OSError as error:
            raise InputError(f"The temporary folder ({_place()}) cannot be written: {error.strerror}.") from error
        _directories[os.getpid()] = path
        util.Finalize(None, shutil.rmtree, (path,), {"ignore_errors": True}, exitpriority=0)
    return path


def _place() -> str:
    return f"{tempfile.tempdir or os.environ.get('TMPDIR', '/tmp')}, chosen by TMPDIR"
