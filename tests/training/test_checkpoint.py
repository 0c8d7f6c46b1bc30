"""The checkpoint file: whole or not at all, opened without running code, refused when it is not what was asked for."""

import io
import os
import pickle
import resource
import signal
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.training import Checkpoint, Member
from tests.training.small import config, digits, same, trained


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained(Member(digits(count=64), config(optimizer="adam", epochs=5)), epochs=1).checkpoint(0)


def test_comes_back_as_it_was(checkpoint: Checkpoint, tmp_path: Path) -> None:
    loaded = Checkpoint.load(checkpoint.save(tmp_path / "new" / "folder" / "epoch_0001.pt"))
    assert (loaded.epoch, loaded.config, loaded.device) == (1, checkpoint.config, "cpu")
    assert same(loaded.model, checkpoint.model)
    assert same(loaded.generators, checkpoint.generators)
    assert set(loaded.generators) == {"batches", "noise", "dropout", "augmentation"}
    assert loaded.optimizer.keys() == checkpoint.model.keys()
    for key, tensors in checkpoint.optimizer.items():
        assert set(tensors) == {"step", "exp_avg", "exp_avg_sq"}
        assert tensors["exp_avg"].shape == checkpoint.model[key].shape
        assert same(loaded.optimizer[key], tensors)


def test_the_file_is_plain_data(checkpoint: Checkpoint, tmp_path: Path) -> None:
    content = torch.load(checkpoint.save(tmp_path / "c.pt"), weights_only=True)
    assert content["config"]["model"] == "ce-tor-MLP"
    assert content["schedule"] == {"kind": "steps", "learning_rate": 0.01}


def test_is_a_copy(tmp_path: Path) -> None:
    member = Member(digits(count=64), config(epochs=2, optimizer="adam"))
    cohort = trained(member, epochs=1)
    taken = cohort.checkpoint(0)
    before = {key: value.clone() for key, value in taken.model.items()}
    moment = {key: value["exp_avg"].clone() for key, value in taken.optimizer.items()}
    list(cohort.epochs())
    assert same(taken.model, before)
    assert same({key: value["exp_avg"] for key, value in taken.optimizer.items()}, moment)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_short_is_refused(checkpoint: Checkpoint, tmp_path: Path, share: float) -> None:
    path = checkpoint.save(tmp_path / "c.pt")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="truncated, damaged"):
        Checkpoint.load(path)


@pytest.mark.parametrize("damage", ["no table of contents", "a block of zeros", "one bit"])
def test_a_damaged_file_is_refused(checkpoint: Checkpoint, tmp_path: Path, damage: str) -> None:
    path = checkpoint.save(tmp_path / "c.pt")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2  # among the weights, which torch.load takes as they come
    if damage == "no table of contents":
        content[-40:] = bytes(40)
    elif damage == "one bit":
        content[middle] ^= 1
    else:
        content[middle : middle + 4096] = bytes(4096)  # a page that a power cut kept from the disk
    path.write_bytes(content)
    with pytest.raises(InputError, match="truncated, damaged"):
        Checkpoint.load(path)


class Evil:
    """A pickle that would write a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_foreign_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "c.pt", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(InputError, match="another type of file"):
        Checkpoint.load(path)
    torch.save({"format": Evil(trace)}, path)
    with pytest.raises(InputError, match="another type of file"):
        Checkpoint.load(path)
    assert not trace.exists()


def test_other_torch_files_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save(checkpoint.model, path)
    with pytest.raises(InputError, match="not a checkpoint of this project"):
        Checkpoint.load(path)
    torch.save({"format": "rsc-checkpoint-1", "epoch": 3}, path)
    with pytest.raises(InputError, match="damaged"):
        Checkpoint.load(path)


def test_options_that_do_not_match_their_digest_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "c.pt")
    content = torch.load(path, weights_only=True)
    content["config"]["learning_rate"] = 0.5
    torch.save(content, path)
    with pytest.raises(InputError, match="digest"):
        Checkpoint.load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            Checkpoint.load(path)


def test_resuming_with_other_options_names_each_difference(checkpoint: Checkpoint) -> None:
    checkpoint.require(checkpoint.config)
    differences = r"learning_rate 0\.01 \(asked for: 0\.1\); random_seed 0 \(asked for: 3\)\. Use the same options"
    with pytest.raises(InputError, match=f"^The checkpoint belongs to .* with other options: {differences}"):
        checkpoint.require(replace(checkpoint.config, learning_rate=0.1, random_seed=3))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint.save(tmp_path / "c.pt")
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace(checkpoint, epoch=2).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_has_the_permissions_of_any_new_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = checkpoint.save(tmp_path / "c.pt")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_replaces_and_whoever_reads_the_old_file_reads_it_to_its_end(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = checkpoint.save(tmp_path / "c.pt")
    before = path.read_bytes()
    with path.open("rb") as reader:
        replace(checkpoint, epoch=4).save(path)
        assert reader.read() == before
    assert Checkpoint.load(path).epoch == 4
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("room", [0, 1000, 100_000, 0.5, 0.999])
def test_a_file_that_cannot_grow_is_an_error_of_the_system(checkpoint: Checkpoint, tmp_path: Path, room: float) -> None:
    """As on a full disk, wherever in the file the room ends: a limit on the size of files."""
    path = checkpoint.save(tmp_path / "c.pt")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room if room == 0 or room > 1 else room * len(before)), limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            replace(checkpoint, epoch=4).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_signal_that_breaks_the_writing_off_is_heard(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's file writer, broken off, says "unexpected pos" instead."""
    path = checkpoint.save(tmp_path / "c.pt")
    before = path.read_bytes()

    class Stopped(io.FileIO):
        def write(self, data: Any) -> int:
            written = super().write(data)
            if self.tell() > len(before) // 2:
                signal.raise_signal(signal.SIGINT)
            return written

    def opened(path: Path, mode: str) -> Stopped:
        return Stopped(path, mode)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(KeyboardInterrupt):
        replace(checkpoint, epoch=2).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_reaches_the_disk_before_the_name(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves no name without its content: the file is synced before it has the name, the folder after."""
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), (tmp_path / "c.pt").exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    checkpoint.save(tmp_path / "c.pt")
    assert synced == [(False, False), (True, True)]


def test_the_rate_is_that_of_the_last_epoch_trained() -> None:
    """The milestone of 16 epochs is 15: that one is trained at the full rate, the next at a tenth."""
    member = Member(digits(count=64), config(epochs=16))
    assert trained(member, epochs=15).checkpoint(0).learning_rate == pytest.approx(0.01)
    assert trained(member, epochs=16).checkpoint(0).learning_rate == pytest.approx(0.001)
