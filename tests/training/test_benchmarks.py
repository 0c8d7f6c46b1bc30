"""The speed benchmarks' arithmetic and command line, and the one promise about memory that a test can hold."""

import os
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu
from benchmarks.__main__ import names
from benchmarks.denormals import denormal
from benchmarks.measuring import PARAMETERS, Cost, ratio
from benchmarks.training import peak_memory
from rsc_mlflow.errors import InputError


def test_the_size_is_that_of_largemlp_on_28_by_28_images() -> None:
    assert PARAMETERS == 784 * 256 + 256 + 2 * (256 * 256 + 256) + 256 * 10 + 10


def test_ratios_are_medians_of_each_rounds_ratio() -> None:
    ours = [Cost(1, 10), Cost(4, 20), Cost(9, 30)]
    theirs = [Cost(2, 10), Cost(2, 10), Cost(3, 10)]  # wall ratios 0.5, 2, 3; processor ratios 1, 2, 3
    assert ratio(ours, theirs) == ["2.00", "2.00"]
    assert Cost(3, 6) / 3 == Cost(1, 2)


def test_counts_denormal_numbers() -> None:
    tiny = torch.finfo(torch.float32).tiny
    numbers = torch.tensor([0.0, -0.0, 1.0, tiny, tiny / 2, -tiny / 4, 1e-45, float("inf")])
    assert denormal(numbers) == 3


def test_an_unknown_benchmark_is_refused_with_the_list() -> None:
    assert {"training", "cohorts", "denormals"} <= set(names())
    assert not {"__main__", "measuring"} & set(names())
    done = subprocess.run([sys.executable, "-m", "benchmarks", "trainin"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unknown benchmark 'trainin'. Did you mean 'training'? Expected one of: ")
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], check=True, capture_output=True, text=True)
    assert done.stdout.endswith(f"\nNames: {', '.join(names())}\n")


def test_the_gpu_benchmark_refuses_devices_in_one_line() -> None:
    with pytest.raises(InputError, match="'tpu' is not a valid device"):
        gpu.main(["--device", "tpu"], standalone_mode=False)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks", "gpu"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line == "error: This machine has no CUDA device. Use --small to run the rows at toy size on the CPU."


def gpu_table(*only: str) -> list[str]:
    """The rows that the command prints at toy size on the CPU, all of which must pass their checks."""
    arguments = ["--small", "--device", "cpu", *(word for text in only for word in ("--only", text))]
    done = CliRunner().invoke(gpu.main, arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("CPU, toy size; ")
    return done.stdout.splitlines()[3:-1]


def test_the_gpu_benchmark_trains_and_solves_at_toy_size() -> None:
    rows = gpu_table("LargeMLP, K = 2", "aug01, K = 1", "influence")
    checks = ["weights differ by 0e+00, loss"] * 3 + ["residual"]
    assert len(rows) == 4
    assert all(check in row for row, check in zip(rows, checks, strict=True))


@pytest.mark.integration
def test_the_gpu_benchmark_sweeps_and_attacks_at_toy_size() -> None:
    sweep, attack = gpu_table("sweep of 2 LargeMLPs", "mem_inference")
    assert "2 of 2 finished, 2 registered, 2 scored" in sweep
    assert "AUC lira" in attack


def test_a_row_of_the_gpu_benchmark_says_what_is_wrong_and_what_is_slow() -> None:
    def failing() -> gpu.Measured:
        raise RuntimeError("out of luck\nmore")

    slow = gpu.Row("a", "s", 2, lambda: gpu.Measured(3, "fine", True))
    wrong = gpu.Row("b", "s", None, lambda: gpu.Measured(1, "half", False))
    assert slow.cells() == (["a", "s", "≤ 2", "3", "no", "fine"], True)
    assert wrong.cells() == (["b", "s", "", "1", "", "WRONG: half"], False)
    assert gpu.Row("c", "s", 1, failing).cells() == (["c", "s", "≤ 1", "–", "", "failed: out of luck"], False)


def test_all_limits_of_the_gpu_benchmark_are_in_its_rows() -> None:
    rows = list(gpu.rows(gpu.Size(torch.device("cpu"), small=True)))
    assert [row.limit for row in rows] == [0.09, 6e-3, 4.3e-3, 4.8e-3, 3.3e-3, 1, 0.3, 0.5, None, None, 90, 240, 5, 60]


@pytest.mark.real
def test_training_on_mnist_stays_below_one_and_a_half_gigabytes() -> None:
    assert peak_memory() < 1500
