"""The option ``precision``: which arithmetic the matrix products and convolutions of a model use."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from rsc_mlflow.errors import invalid_value


def check_precision(precision: str, device: torch.device) -> None:
    """Raises InputError if the device is not a GPU and the precision is not ``float32``."""
    if device.type != "cuda" and precision != "float32":
        raise invalid_value("precision", precision, "float32 on the CPU, or a CUDA device")


@contextmanager
def tf32_as(precision: str) -> Iterator[None]:
    """TF32 is on in this context if the precision is ``tf32``, else off; afterwards it is as it was.

    It is turned off for convolutions too, where PyTorch's default is on.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _allow_tf32(precision == "tf32", precision == "tf32")
    try:
        yield
    finally:
        _allow_tf32(*before)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass: for ``bf16`` its products are of bfloat16 numbers, else nothing changes.

    Parameters, their gradients and batch statistics stay float32.
    """
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def _allow_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions
