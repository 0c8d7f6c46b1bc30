"""Device names, logits over many images, and the peak of memory."""

import subprocess
import sys

import pytest
import torch

from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training import evaluate_logits, peak_memory_mb, resolve_device
from tests.training.small import CPU


def test_auto_is_cuda_where_there_is_one() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:0", "cuda:-1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="Expected auto, cpu, cuda or cuda:INDEX"):
        resolve_device(name)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="this machine has"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_logits_in_batches_are_those_of_all_at_once(count: int) -> None:
    model = build("altResNet20", (1, 8, 8), 3, torch_generator(0, "init")).train()
    x = torch.rand(count, 1, 8, 8, generator=torch_generator(0, "x"))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    logits = evaluate_logits(model, x, CPU, batch_size=4)
    assert model.training
    assert not logits.requires_grad
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(logits, model.eval()(x))


def test_peak_memory_is_this_programs_own() -> None:
    """The child of a process of more than 2 GB starts small again, and its peak grows by the 384 MB that it takes."""
    program = (
        "import torch; from rsc_mlflow.training import peak_memory_mb as peak; before = peak(torch.device('cpu')); "
    )
    program += "torch.ones(96 * 2**20); print(before, peak(torch.device('cpu')))"
    ballast = bytearray(b"x") * 2**31
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    del ballast
    before, after = map(float, done.stdout.split())
    assert peak_memory_mb(CPU) > 2000
    assert before < 1500
    assert 350 < after - before < 450
