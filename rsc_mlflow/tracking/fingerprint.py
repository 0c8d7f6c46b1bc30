"""One short name for everything that decides a result: the identity of a job in a sweep's ledger."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def fingerprint(values: Mapping[str, object]) -> str:
    """64 hex digits: SHA-256 of the canonical JSON of ``values``; the same in every process and on every machine.

    The order of keys does not matter, nor how a number is written: ``1`` and ``1.0``, ``0.010`` and ``0.01``
    give the same fingerprint, as numbers.  Text stays text (``"1"`` differs from ``1``), and so do booleans.

    Raises:
        ValueError: a number is NaN or infinite.
        TypeError: a value is not made of text, numbers, booleans, None, lists and mappings.
    """
    text = json.dumps(_canonical(values), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _canonical(value: object) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"fingerprint keys are text; got {key!r}")
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_canonical(item) for item in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"a fingerprint takes finite numbers only; got {number}")
        return int(number) if number.is_integer() else number
    raise TypeError(f"a fingerprint takes text, numbers, booleans, None, lists and mappings; got {type(value)}")
