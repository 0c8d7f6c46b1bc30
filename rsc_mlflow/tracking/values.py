"""Check names and values before they are sent to MLflow, and read stored values."""

import math
import posixpath
import re
import shlex
from decimal import Decimal
from typing import TYPE_CHECKING

from rsc_mlflow.errors import InputError
from rsc_mlflow.fields import param_text as param_text

if TYPE_CHECKING:  # options are checked with this module: importing these would slow every --help
    from collections.abc import Iterable

    import pandas as pd
    from mlflow.entities import Metric

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. :]*(?:/[A-Za-z0-9_\-. :]+)*")
_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
LAST_MS = 4_102_444_800_000.0
"""2100-01-01 in milliseconds since 1970; larger numbers are in another unit."""
_EXACT = 2.0**53


def same_value(stored: str, given: object) -> bool:
    """Return whether a stored parameter equals ``given``.

    Numbers are compared by value, comma-separated lists of numbers as sets, and booleans in any case.  Quotes added by
    ``mlflow run`` are ignored.
    """
    first, second = unquoted(stored), param_text(given)
    if first == second or {first.lower(), second.lower()} in ({"true"}, {"false"}):
        return True
    numbers = _numbers(first)
    return numbers is not None and numbers == _numbers(second)


def _numbers(text: str) -> set[Decimal] | None:
    """Return the set of numbers in a comma-separated list, or None if it contains anything else.

    Decimal, because large integers such as seeds cannot all be represented as floats.
    """
    parts = text.split(",")
    values = [value for part in parts if (value := number(part)) is not None]
    if len(values) < len(parts):
        return None
    pairs = zip(parts, values, strict=True)
    return {Decimal(part.strip()) if abs(value) >= _EXACT else Decimal(value) for part, value in pairs}


def number(text: object) -> float | None:
    """Return a stored text as a finite number, or None if it is not one."""
    if not isinstance(text, str | int | float):
        return None
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def whole(text: object) -> int | None:
    """Return a stored text as an integer, or None if it is not one."""
    value = number(text)
    return int(Decimal(str(text))) if value is not None and value.is_integer() else None


def unquoted(stored: str) -> str:
    """Return a stored parameter without the shell quotes that ``mlflow run`` adds to unusual values."""
    if not stored or stored[0] not in "'\"":
        return stored
    try:
        parts = shlex.split(stored)
    except ValueError:
        return stored
    return parts[0] if len(parts) == 1 else stored


def is_time(stored: "pd.Series[float]") -> "pd.Series[bool]":
    """Return which stored numbers are times in milliseconds between 1970 and 2100."""
    return stored.between(0, LAST_MS)


def one_per_step(points: "Iterable[Metric]") -> list[tuple[int, float]]:
    """Return (step, value) of a metric's points in order of steps; if a step has two points, the later one.

    A step can have two points if a process is killed while the server handles its last request: the resumed process
    logs the epoch again, with the same value.
    """
    in_order = sorted(points, key=lambda point: (point.step, point.timestamp))
    return list({int(point.step): float(point.value) for point in in_order}.items())


def check_metric_name(name: str) -> None:
    """Raise ValueError if MLflow does not accept the metric name."""
    if not _is_name(name):
        raise ValueError(f"{name!r} is not a valid metric name. Expected letters, digits, _ - . : / and spaces.")


def check_param(key: str, value: str) -> None:
    """Raise InputError if MLflow would refuse or truncate the parameter."""
    _check("parameter", key, value, _PARAM_LENGTH)


def check_tag(key: str, value: str) -> None:
    """Raise InputError if MLflow would refuse or truncate the tag."""
    _check("tag", key, value, _TAG_LENGTH)


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and len(text) <= _KEY_LENGTH and posixpath.normpath(text) == text


def _check(what: str, key: str, value: str, limit: int) -> None:
    if not _is_name(key):
        raise InputError(f"{key!r} is not a valid {what} name. Expected letters, digits, _ - . : / and spaces.")
    if len(value) > limit:
        raise InputError(f"The {what} {key!r} has {len(value)} characters. Expected at most {limit}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"Invalid {what} {key!r}: {value!a}. Expected text that can be encoded as UTF-8.") from None
