"""Folders of living processes stay, those of killed ones go, and a process leaves nothing behind."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsc_mlflow import scratch

HOLDER = """
import sys
from rsc_mlflow import scratch
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
