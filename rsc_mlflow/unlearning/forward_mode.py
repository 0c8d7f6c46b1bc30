"""Forward-mode differentiation without the warnings of PyTorch about itself."""

import contextlib
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch.func


def jvp(function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """``torch.func.jvp``: the value of ``function`` at ``primals``, and its derivative along ``tangents``."""
    _load_decompositions()
    found: Any = torch.func.jvp(function, primals, tangents)  # annotated with a third value, which only has_aux gives
    return found[0], found[1]


@cache
def _load_decompositions() -> None:
    """Load what PyTorch loads at the first ``jvp`` of a process: it calls ``torch.jit.script``, which is deprecated."""
    with warnings.catch_warnings(), contextlib.suppress(ImportError):
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
        import_module("torch._decomp.decompositions_for_jvp")
