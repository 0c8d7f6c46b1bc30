"""Turns of processes on a GPU; what is tested needs none."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rsc_mlflow import cancellation
from rsc_mlflow.experiments import gpu_turns, training
from rsc_mlflow.experiments.gpu_turns import gpu_turn
from rsc_mlflow.experiments.training import LiveTraining, TrainingJob, train_members
from tests.sweeps.units import train

GPU = torch.device("cuda", 0)
TURNS = 20
PROCESS = """
import os, sys, time
from types import SimpleNamespace
from rsc_mlflow.experiments.gpu_turns import gpu_turn, share_gpus

share_gpus()
gpu = SimpleNamespace(type="cuda", index=0)
for _ in range(int(sys.argv[1])):
    with gpu_turn(gpu), gpu_turn(gpu):
        for _ in range(3):
            os.write(1, b"%d\\n" % os.getpid())
            time.sleep(0.002)
with gpu_turn(gpu):
    os.write(1, b"waiting\\n")
    sys.stdin.read()
"""


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts processes that share the GPUs with this one; they write their id three times a turn."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-3a,GPU-4b")
    monkeypatch.setattr(gpu_turns, "_shared", True)
    started: list[subprocess.Popen[bytes]] = []

    def start(turns: int, **streams: Any) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", PROCESS, str(turns)]
        started.append(subprocess.Popen(command, **streams))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def test_no_process_uses_a_gpu_in_the_turn_of_another(
    process: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    with (tmp_path / "turns").open("ab") as log:
        both = [process(TURNS, stdin=subprocess.DEVNULL, stdout=log) for _ in range(2)]
        for one in both:
            one.wait()
    lines = [line for line in (tmp_path / "turns").read_text().split() if line != "waiting"]
    turns = [lines[k : k + 3] for k in range(0, len(lines), 3)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert sorted(turn[0] for turn in turns) == sorted(str(one.pid) for one in both for _ in range(TURNS))
    assert (tmp_path / f"rsc-gpu-{os.getuid()}-GPU-3a.lock").exists()


def test_a_turn_ends_with_its_process_and_waiting_for_it_can_be_stopped(
    process: Callable[..., "subprocess.Popen[bytes]"],
) -> None:
    other = process(0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"waiting\n"
    with gpu_turn(torch.device("cuda", 1)), gpu_turn(torch.device("cpu")):
        pass  # another GPU, and none
    with pytest.raises(KeyboardInterrupt):
        take_a_turn_and_be_stopped()
    other.kill()
    with gpu_turn(GPU):
        assert gpu_turns._held
    assert not gpu_turns._held


def take_a_turn_and_be_stopped() -> None:
    with cancellation.cancellable():
        cancellation.request(signal.SIGINT)
        with gpu_turn(GPU):
            raise AssertionError("the other process has the turn")


def test_outside_sweeps_nobody_waits(process: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    other = process(0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"waiting\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_turns, "_shared", False)
        with gpu_turn(GPU):
            assert not gpu_turns._held


@pytest.mark.usefixtures("sqlite_store")
def test_a_cohort_trains_in_its_turn_and_stores_its_models_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events = []

    @contextmanager
    def turn(device: torch.device) -> Iterator[None]:
        events.append(f"{device} begins")
        yield
        events.append(f"{device} ends")

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(LiveTraining, name)

        def call(*arguments: Any) -> Any:
            events.append(name)
            return original(*arguments)

        return call

    monkeypatch.setattr(training, "gpu_turn", turn)
    for name in ("describe", "after_epoch", "finish"):
        monkeypatch.setattr(LiveTraining, name, noted(name))
    train_members([TrainingJob(train(epochs=2, device="cpu"))])
    assert events == ["describe", "cpu begins", "after_epoch", "after_epoch", "cpu ends", "finish"]
