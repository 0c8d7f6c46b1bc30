"""Directories of living processes stay, those of killed ones go, and a process leaves nothing behind."""

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.tempdirs import TempDirLease, persistent_tempdir, tempdir

HOLDER = """
import sys
from rsc_mlflow.tempdirs import TempDirLease, persistent_tempdir
(persistent_tempdir() / "checkpoint").write_text("weights")
print(TempDirLease.acquire("sweep").path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempdirs, "_leases", {})  # another test of this process may have made its directory
    return tmp_path


@pytest.fixture
def holder(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has made a directory of its own and holds another."""
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert Path(process.stdout.readline().strip()).parent == temporary
        yield process
        process.kill()


def kinds(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[1] for path in folder.iterdir())


def test_a_living_process_keeps_its_directories_and_a_killed_ones_are_removed(
    holder: subprocess.Popen[str], temporary: Path
) -> None:
    TempDirLease.acquire("work").remove()
    TempDirLease.acquire("sweep").remove()
    assert kinds(temporary) == ["sweep", "work"]
    holder.kill()
    holder.wait()
    assert kinds(temporary) == ["sweep", "work"]
    own = TempDirLease.acquire("work")
    assert list(temporary.glob("rsc-work-*")) == [own.path]
    TempDirLease.acquire("sweep").remove()
    assert list(temporary.iterdir()) == [own.path]
    own.remove()
    assert list(temporary.iterdir()) == []


def test_a_process_that_ends_leaves_only_what_it_holds(holder: subprocess.Popen[str], temporary: Path) -> None:
    _, _ = holder.communicate()
    assert holder.returncode == 0
    assert kinds(temporary) == ["sweep"]


def work(folder: str) -> None:
    tempfile.tempdir = folder
    with tempdir() as place:
        (place / "model").write_text("weights")
        assert place.parent.parent == Path(folder)
    (persistent_tempdir() / "checkpoint").write_text("weights")


PROCESSES: dict[str, Any] = {
    "fork": multiprocessing.get_context("fork").Process,
    "spawn": multiprocessing.get_context("spawn").Process,
}


@pytest.mark.parametrize("method", PROCESSES)
def test_a_process_of_multiprocessing_removes_its_own_directory_and_no_other(method: str, temporary: Path) -> None:
    ours = TempDirLease.acquire("work")
    child = PROCESSES[method](target=work, args=(str(temporary),))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert list(temporary.iterdir()) == [ours.path]
    ours.remove()


def test_a_directory_that_a_cleaner_removed_is_made_again(temporary: Path) -> None:
    with tempdir() as place:
        own = place.parent
    assert not place.exists()
    shutil.rmtree(own)
    assert persistent_tempdir().is_dir()


def test_what_is_not_ours_is_left_alone(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "owner.lock").touch()
    (temporary / "rsc-work-link").symlink_to(elsewhere)
    (temporary / "rsc-work-made-just-now").mkdir()
    (temporary / "rsc-work-file").touch()
    if os.getuid() == 0:  # only root can make directories of another user
        (temporary / "rsc-work-theirs").mkdir()
        (temporary / "rsc-work-theirs" / "owner.lock").touch()
        os.chown(temporary / "rsc-work-theirs", 65534, 65534)
    before = sorted(temporary.rglob("*"))
    TempDirLease.acquire("work").remove()
    assert sorted(temporary.rglob("*")) == before


def test_a_full_disk_is_named_also_where_the_error_that_came_of_it_is_not_about_files(temporary: Path) -> None:
    error = ValueError("could not be packed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    about = str(tempdirs.disk_error(error))
    assert "No space left on device; free some space in the artifact folder or in the temporary folder" in about
    assert f"({temporary}, chosen by TMPDIR)" in about
    assert tempdirs.disk_error(ValueError("no error of a file")) is None


def test_a_temporary_directory_that_cannot_be_written_is_named(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary / "file").write_text("in the way")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "file"))
    with pytest.raises(InputError, match=r"temporary folder .*file, chosen by TMPDIR\) cannot be written"), tempdir():
        pass
