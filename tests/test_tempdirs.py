"""A process leaves no temporary directory behind, and says what is wrong with the folder for them."""

import errno
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.tempdirs import persistent_tempdir, tempdir


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempdirs, "_directories", {})  # another test of this process may have made its own
    return tmp_path


def work(folder: str) -> None:
    tempfile.tempdir = folder
    with tempdir() as place:
        (place / "model").write_text("weights")
        assert place.parent.parent == Path(folder)
    assert not place.exists()
    (persistent_tempdir() / "checkpoint").write_text("weights")


PROCESSES: dict[str, Any] = {
    "fork": multiprocessing.get_context("fork").Process,
    "spawn": multiprocessing.get_context("spawn").Process,
}


@pytest.mark.parametrize("method", PROCESSES)
def test_a_process_of_multiprocessing_removes_its_own_directory_and_no_other(method: str, temporary: Path) -> None:
    ours = persistent_tempdir()
    child = PROCESSES[method](target=work, args=(str(temporary),))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert list(temporary.iterdir()) == [ours.parent]


def test_a_process_that_ends_leaves_nothing(temporary: Path) -> None:
    program = "from tests.test_tempdirs import work; import sys; work(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(temporary)], check=True)
    assert list(temporary.iterdir()) == []


def test_a_directory_that_a_cleaner_removed_is_made_again(temporary: Path) -> None:
    shutil.rmtree(persistent_tempdir().parent)
    assert persistent_tempdir().is_dir()


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
