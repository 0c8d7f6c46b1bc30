"""Folders of living processes stay, those of killed ones go, and a process leaves nothing behind."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsc_mlflow import scratch
from rsc_mlflow.errors import InputError

HOLDER = """
import sys
from rsc_mlflow import scratch
from rsc_mlflow.errors import InputError
(scratch.lasting() / "checkpoint").write_text("weights")
print(scratch.hold("sweep").path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def holder(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has made a folder of its own and holds another."""
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert Path(process.stdout.readline().strip()).parent == temporary
        yield process
        process.kill()


def kinds(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[1] for path in folder.iterdir())


def test_a_living_process_keeps_its_folders_and_a_killed_ones_are_removed(
    holder: subprocess.Popen[str], temporary: Path
) -> None:
    scratch.hold("work").remove()
    scratch.hold("sweep").remove()
    assert kinds(temporary) == ["sweep", "work"]
    holder.kill()
    holder.wait()
    assert kinds(temporary) == ["sweep", "work"]
    held = scratch.hold("work")
    assert kinds(temporary) == ["sweep", "work"]
    assert list(temporary.glob("rsc-work-*")) == [held.path]
    scratch.hold("sweep").remove()
    assert list(temporary.iterdir()) == [held.path]
    held.remove()
    assert list(temporary.iterdir()) == []


def test_a_process_that_ends_leaves_only_what_it_holds(holder: subprocess.Popen[str], temporary: Path) -> None:
    _, _ = holder.communicate()
    assert holder.returncode == 0
    assert kinds(temporary) == ["sweep"]


def work(folder: str) -> None:
    tempfile.tempdir = folder
    with scratch.temporary() as place:
        (place / "model").write_text("weights")
        assert place.parent.parent == Path(folder)
    (scratch.lasting() / "checkpoint").write_text("weights")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_of_multiprocessing_cleans_up_its_own_folder_and_no_other(method: str, temporary: Path) -> None:
    ours = scratch.hold("work")
    child = multiprocessing.get_context(method).Process(target=work, args=(str(temporary),))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert list(temporary.iterdir()) == [ours.path]
    ours.remove()


@pytest.mark.parametrize("already_removed", [False, True])
def test_a_folder_taken_for_a_dead_ones_before_it_was_locked_is_given_up(
    already_removed: bool, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process comes between the making of the folder and its lock, and finds it unlocked."""
    flock, rivals = fcntl.flock, []

    def after_a_rival(lock: int, how: int) -> None:
        if not rivals:
            (folder,) = temporary.iterdir()
            rivals.append(os.open(folder / "owner.lock", os.O_RDWR))
            flock(rivals[0], fcntl.LOCK_EX)
            if already_removed:
                shutil.rmtree(folder)
                os.close(rivals[0])
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", after_a_rival)
    held = scratch.hold("work")
    monkeypatch.undo()
    assert rivals
    assert held.path.is_dir()
    others = [path for path in temporary.iterdir() if path != held.path]
    assert len(others) == (0 if already_removed else 1), "the rival removes the one that it has"
    held.remove()
    if not already_removed:
        os.close(rivals[0])


def test_where_nothing_can_be_locked_a_folder_is_made_all_the_same(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(lock: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    first, second = scratch.hold("work"), scratch.hold("work")
    assert first.path.is_dir(), "nobody else can lock it, so nobody takes it for a dead one's"
    first.remove()
    second.remove()


def test_folders_inside_that_of_the_process(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_own", scratch._Own())  # another test of this process may have made its folder
    with scratch.temporary() as place:
        own = place.parent
        assert own.parent == temporary
        assert scratch.lasting().parent == own
    assert not place.exists()
    shutil.rmtree(own)  # by a cleaner of temporary files
    assert scratch.lasting().is_dir()


def test_what_is_not_ours_is_left_alone(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "owner.lock").touch()
    (temporary / "rsc-work-link").symlink_to(elsewhere)
    (temporary / "rsc-work-made-just-now").mkdir()
    (temporary / "rsc-work-file").touch()
    before = sorted(temporary.iterdir())
    scratch.hold("work").remove()
    assert sorted(temporary.iterdir()) == before
    assert (elsewhere / "owner.lock").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make folders of another user")
def test_another_users_folder_is_left_alone(temporary: Path) -> None:
    folder = temporary / "rsc-work-theirs"
    folder.mkdir()
    (folder / "owner.lock").touch()
    os.chown(folder, 65534, 65534)
    scratch.hold("work").remove()
    assert list(temporary.iterdir()) == [folder]


def test_an_error_of_another_folder_is_not_blamed_on_the_temporary_one(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "artifacts"))
    assert scratch.complaint(full) is None
    assert scratch.complaint(ValueError("no error of a file")) is None


def test_a_temporary_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the error that came of it names it no longer."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    error = ValueError("could not be packed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert f"the temporary folder {tmp_path / 'file'} cannot be written" in str(scratch.complaint(error))
    monkeypatch.setattr(scratch, "_own", scratch._Own())
    with pytest.raises(InputError, match=r"temporary folder .*file cannot be written .*TMPDIR"), scratch.temporary():
        pass
