"""The speed benchmarks' arithmetic and command line, and the one promise about memory that a test can hold."""

import subprocess
import sys

import pytest
import torch

from benchmarks.__main__ import names
from benchmarks.denormals import denormal
from benchmarks.measuring import PARAMETERS, Cost, ratio
from benchmarks.training import peak_memory


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


@pytest.mark.real
def test_training_on_mnist_stays_below_one_and_a_half_gigabytes() -> None:
    assert peak_memory() < 1500
