"""The contract's arrays a second time, in plain numpy and ``[N, H, W, C]``, sharing no code with the package."""

import numpy as np


def carry_pattern(x: np.ndarray, pattern: str, seed: int) -> np.ndarray:
    """A patterned copy of float32 ``[N, H, W, C]``."""
    x = x.copy()
    corners = {"v1": 1, "v3": 3, "v8": 5}
    scales = {"v18": 0.25, "v19": 0.5, "v20": 1.0}
    if pattern in corners:
        x[:, : corners[pattern], : corners[pattern], :] = 1
    elif pattern == "v30":
        for row in range(3, 24 + 1):
            for column in (13, 14, 15):
                x[:, row, column, :] = 1
    else:
        noise = np.random.RandomState(seed).rand(*x.shape[1:])
        x[:] = np.minimum(np.maximum(x.astype(np.float64) + scales[pattern] * noise, 0.0), 1.0)
    return x


def poison(
    x: np.ndarray, y: np.ndarray, pattern: str, count: int, targets: tuple[int, ...], seed: int, pattern_seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The training set of a dataset name, float32 ``[N, H, W, C]``, and the indices of its spurious examples."""
    x, chosen = x.copy(), []
    state = np.random.RandomState(seed)
    for target in targets:
        picked = state.choice(np.where(y == target)[0], size=count, replace=False)
        x[picked] = carry_pattern(x[picked], pattern, pattern_seed)
        chosen.append(picked)
    return x, np.concatenate(chosen)


def channels_last(x: object) -> np.ndarray:
    """A tensor ``[N, C, H, W]`` as an array ``[N, H, W, C]``."""
    return np.asarray(x).transpose(0, 2, 3, 1)
