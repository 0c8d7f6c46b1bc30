"""Training sets of shadow models.

Shadow models form pairs: one is trained on a random half of the population, the other on the other half.  If their
number is even, exactly half of the models are therefore trained on each example (Carlini et al. 2022, section IV-B).
The first pair is trained on shadow-train and on shadow-test, so the first shadow model is the one in the paper.  The
spurious examples are split separately, so every shadow model is trained on exactly as many of them as the target model.
"""

import numpy as np

from rsc_mlflow.attacks.base import Bools
from rsc_mlflow.errors import InputError, invalid_value
from rsc_mlflow.rng import numpy_generator


def draw_shadow_members(spurious: Bools, n_shadow: int, seed: int) -> Bools:
    """Return which examples each shadow model is trained on, bool ``[K, M]``.

    The first k rows are the same for any number of models K ≥ k.

    Args:
        spurious: which examples are spurious, bool ``[M]`` with M even; the first half is shadow-train.
        n_shadow: number K of shadow models.
        seed: seed of the random halves.

    Raises:
        InputError: M or the number of spurious examples is odd, or ``n_shadow`` < 1.
    """
    n = len(spurious)
    if n_shadow < 1:
        raise invalid_value("shadow_models", n_shadow, "an integer ≥ 1")
    if n % 2 or spurious.sum() % 2:
        raise InputError(
            f"Cannot split a population of {n} examples with {spurious.sum()} spurious ones. Expected even numbers."
        )
    rng = numpy_generator(seed, "shadow sets")
    rows = [np.arange(n) < n // 2]
    while 2 * len(rows) < n_shadow:
        half = np.zeros(n, dtype=np.bool_)
        for stratum in (np.flatnonzero(spurious), np.flatnonzero(~spurious)):
            half[rng.permutation(stratum)[: len(stratum) // 2]] = True
        rows.append(half)
    pairs = np.stack([row for half in rows for row in (half, ~half)])
    return pairs[:n_shadow]
