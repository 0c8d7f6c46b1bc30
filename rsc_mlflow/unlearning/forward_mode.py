"""Forward-mode differentiation without a warning that PyTorch raises about its own code."""

import contextlib
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch.func


def jvp(function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the value of ``function`` at ``primals`` and its derivative along ``tangents``; see ``torch.func.jvp``."""
    _load_decompositions()
    found: Any = torch.func.jvp(function, primals, tangents)  # PyTorch's annotation has a third value, as with has_aux
    return found[0], found[1]


@cache
def _load_decompositions() -> None:
    """Import what PyTorch imports at the first ``jvp``, without its warning: it calls ``torch.jit.script``."""
    with warnings.catch_warnings(), contextlib.suppress(ImportError):
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
        import_module("torch._decomp.decompositions_for_jvp")
