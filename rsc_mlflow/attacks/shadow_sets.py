"""Which examples train which shadow model.

Shadow models come in pairs: a random half of the population trains one, the other half the second, so each example
trains exactly half of them (Carlini et al. 2022, section IV-B).  The first pair is (shadow-train, shadow-test), so the
first shadow model is the paper's.  The spurious examples of the population are halved separately: every shadow model
holds exactly as many as the target model.
"""

import numpy as np

from rsc_mlflow.attacks.base import Bools
from rsc_mlflow.errors import InputError
from rsc_mlflow.rng import numpy_generator


def draw_shadow_members(spurious: Bools, n_shadow: int, seed: int) -> Bools:
    """Members of each shadow model: spurious bool [M] (M even, the first half shadow-train) → bool [K, M].

    ``draw_shadow_members(s, k, seed)`` is the first k rows of every longer draw with the same seed.

    Raises:
        InputError: M or the number of spurious examples is odd, or ``n_shadow`` < 1.
    """
    n = len(spurious)
    if n_shadow < 1:
        raise InputError(f"shadow_models must be at least 1; got {n_shadow}")
    if n % 2 or spurious.sum() % 2:
        raise InputError(f"a population of {n} examples with {spurious.sum()} spurious ones cannot be halved")
    rng = numpy_generator(seed, "shadow sets")
    rows = [np.arange(n) < n // 2]
    while 2 * len(rows) < n_shadow:
        half = np.zeros(n, dtype=np.bool_)
        for stratum in (np.flatnonzero(spurious), np.flatnonzero(~spurious)):
            half[rng.permutation(stratum)[: len(stratum) // 2]] = True
        rows.append(half)
    pairs = np.stack([row for half in rows for row in (half, ~half)])
    return pairs[:n_shadow]
