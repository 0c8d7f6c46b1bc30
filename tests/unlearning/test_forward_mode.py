"""Forward-mode differentiation in a fresh process, where PyTorch loads its part of it."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import torch
from rsc_mlflow.unlearning.forward_mode import jvp

value, slope = jvp(lambda x: (x**3).sum(), (torch.tensor([1.0, 2.0]),), (torch.tensor([1.0, 10.0]),))
print(float(value), float(slope))
"""


def test_the_first_derivative_of_a_process_warns_of_nothing() -> None:
    """Value 1 + 8; slope 3·1²·1 + 3·2²·10."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout == "9.0 123.0\n"
    assert done.stderr == ""
