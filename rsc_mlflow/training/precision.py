"""The option ``precision``: the arithmetic of a model's matrix products and convolutions."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from rsc_mlflow.errors import invalid_value


def check_precision(precision: str, device: torch.device) -> None:
    """Check that the device supports the precision.

    Raises:
        InputError: the device is not a GPU and the precision is not ``float32``.
    """
    if device.type != "cuda" and precision != "float32":
        raise invalid_value("precision", precision, "float32 on the CPU, or a CUDA device")


@contextmanager
def tf32_as(precision: str) -> Iterator[None]:
    """Turn TF32 on for the duration of the block if the precision is ``tf32``, else off.

    This includes convolutions, for which PyTorch's default is on.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _allow_tf32(precision == "tf32", precision == "tf32")
    try:
        yield
    finally:
        _allow_tf32(*before)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context for forward passes.  With ``bf16``, products are computed in bfloat16; else it has no effect.

    Parameters, their gradients and batch statistics stay float32.
    """
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def _allow_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions
