"""How workers share GPUs, on a machine that may have none."""

import pytest
import torch

from rsc_mlflow.sweeps.executors import cores
from rsc_mlflow.sweeps.gpus import default_workers, gpu_of, training_at_once, workers_on_a_gpu


def test_workers_get_the_gpus_of_the_sweep_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu_of(slot, 3) for slot in range(6)] == ["0", "1", "2", "0", "1", "2"]
    assert gpu_of(0, 0) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-2f")  # a part of the machine's GPUs
    assert [gpu_of(slot, 2) for slot in range(4)] == ["5", "GPU-2f", "5", "GPU-2f"]


def test_two_workers_a_gpu_of_which_one_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (default_workers("auto"), default_workers(7)) == (cores(), 7)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert (default_workers("auto"), default_workers(7)) == (8, 7)
    assert [training_at_once(workers, 4) for workers in (1, 4, 8, 9)] == [1, 4, 4, 4]
    assert [training_at_once(workers, 0) for workers in (1, 8)] == [1, 8]
    assert [workers_on_a_gpu(workers, 4) for workers in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]
