"""Fingerprints: hashes of all options that affect a result, which identify jobs."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def fingerprint(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of the canonical JSON of ``values``, 64 hexadecimal digits.

    The order of keys does not matter, and neither does the form of a number: ``1`` and ``1.0`` give the same
    fingerprint.  Text and booleans differ from numbers (``"1"`` and ``1`` give different fingerprints).

    Raises:
        ValueError: a number is NaN or infinite.
        TypeError: a value is not text, a number, a boolean, None, a list or a mapping.
    """
    text = json.dumps(_canonical(values), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _canonical(value: object) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"Invalid key of a fingerprint: {key!r}. Expected text.")
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_canonical(item) for item in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"Invalid value in a fingerprint: {number}. Expected a finite number.")
        return int(number) if number.is_integer() else number
    raise TypeError(
        f"Invalid type in a fingerprint: {type(value)}. Expected text, number, boolean, None, list or mapping."
    )
