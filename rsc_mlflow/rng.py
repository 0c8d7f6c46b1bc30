"""Independent random generators, one per purpose, derived from ``(seed, purpose)``.

With separate generators, a new use of randomness does not change the others: the initial weights, for example, are the
same with and without input noise.  Spurious examples and random patterns do not use these generators.  They are drawn
from ``numpy.random.RandomState(seed)``, as in the paper's code (see :mod:`rsc_mlflow.data`).
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # --help imports this module but needs neither
    import numpy as np
    import torch


def derive_seed(seed: int, purpose: str) -> int:
    """Return a 63-bit seed: the first 8 bytes of the SHA-256 of ``"seed:purpose"``, shifted right by one bit."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def torch_generator(seed: int, purpose: str, device: "torch.device | str" = "cpu") -> "torch.Generator":
    """Return a torch generator on ``device`` for this seed and purpose."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose))


def numpy_generator(seed: int, purpose: str) -> "np.random.Generator":
    """Return a numpy generator for this seed and purpose."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, purpose))
