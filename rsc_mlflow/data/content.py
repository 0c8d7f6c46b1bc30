"""Digests of families and patterns that are not built in, for the fingerprints of runs that use them.

Built-in families and patterns are identified by their names.  The content of a folder, picture or plug-in may change
under the same name, so a run's fingerprint includes a digest of the content.
"""

from functools import lru_cache
from pathlib import Path

import torch

from rsc_mlflow.data.digests import row_digests, set_digest
from rsc_mlflow.data.families import load_family
from rsc_mlflow.data.patterns import apply_pattern
from rsc_mlflow.families import FAMILIES
from rsc_mlflow.names import DatasetName
from rsc_mlflow.patterns import PATTERNS, Apply

PROBES = (0.0, 0.5, 1.0)
"""Pixel values of the uniform images from which the digest of a pattern is computed."""


def outside_digests(name: DatasetName, data_root: str | Path, pattern_seed: int) -> dict[str, str]:
    """Return ``family_digest`` and ``pattern_digest``, 32 hexadecimal digits each, unless they are built in.

    The digest of a family covers all its images and labels, in order; it requires loading the family.  The digest of a
    pattern covers the result of applying it to three uniform images of the family's shape.

    Raises:
        InputError: the family cannot be loaded, or the pattern does not fit its images.
    """
    found: dict[str, str] = {}
    shape = FAMILIES[name.family].image_shape
    if not FAMILIES.is_builtin(name.family):
        train, test = load_family(name.family, data_root)
        shape, found["family_digest"] = train.image_shape, f"{train.digest[:16]}{test.digest[:16]}"
    if name.pattern is not None and not PATTERNS.is_builtin(name.pattern):
        pattern = PATTERNS[name.pattern]
        assert shape is not None  # declared by every built-in family
        seed = pattern_seed if pattern.depends_on_seed else 0
        found["pattern_digest"] = _pattern_digest(name.pattern, pattern.apply, shape, seed)
    return found


@lru_cache(maxsize=1024)
def _pattern_digest(name: str, apply: Apply, shape: tuple[int, int, int], seed: int) -> str:
    """Return the digest of a pattern.  ``apply`` is part of the cache's key, because a picture may change."""
    probes = torch.stack([torch.full(shape, value) for value in PROBES])
    nothing = torch.empty(0, dtype=torch.int64)
    return set_digest(row_digests(apply_pattern(name, probes, seed)), nothing, nothing)
