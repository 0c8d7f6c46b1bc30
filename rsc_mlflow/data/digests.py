"""Digests of image sets.  They cover every byte, and sets that share images can share the digests of these images."""

import hashlib

import numpy as np
import numpy.typing as npt
from torch import Tensor

DIGEST_LENGTH = 32
"""Number of hexadecimal digits of a dataset's digest (MLflow accepts up to 36)."""


def row_digests(images: Tensor) -> npt.NDArray[np.uint8]:
    """Return the SHA-256 of each image's bytes (row-major), uint8 ``[N, 32]``, for images float32 ``[N, C, H, W]``."""
    rows = images.detach().cpu().numpy()
    joined = b"".join(hashlib.sha256(row.tobytes()).digest() for row in rows)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), hashlib.sha256().digest_size)


def set_digest(rows: npt.NDArray[np.uint8], labels: Tensor, spurious_indices: Tensor) -> str:
    """Return one digest of a set, 32 hexadecimal digits.

    Args:
        rows: digests of the images, uint8 ``[N, 32]``.
        labels: int64 ``[N]``.
        spurious_indices: int64 ``[m]``, in order of choice.
    """
    total = hashlib.sha256(rows.tobytes())
    for part in (labels, spurious_indices):
        total.update(part.detach().cpu().numpy().astype("<i8").tobytes())
    return total.hexdigest()[:DIGEST_LENGTH]
