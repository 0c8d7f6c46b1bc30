"""One independent random generator per purpose, derived from ``(seed, purpose)``.

Giving each purpose a stream of its own means that adding a new use of randomness never moves an
existing one: initial weights stay the same whether or not input noise is switched on.  (The *choice*
of spurious examples and their noise are the exception: the contract fixes them to
``numpy.random.RandomState(seed)``, as in the paper's code; see :mod:`rsc_mlflow.data`.)
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command's help imports this module and needs neither
    import numpy as np
    import torch


def derive_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed that depends on both arguments: the first 8 bytes of SHA-256 of ``"seed:purpose"``."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def torch_generator(seed: int, purpose: str, device: "torch.device | str" = "cpu") -> "torch.Generator":
    """A torch generator on ``device`` for this seed and purpose."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose))


def numpy_generator(seed: int, purpose: str) -> "np.random.Generator":
    """A numpy generator for this seed and purpose."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, purpose))
