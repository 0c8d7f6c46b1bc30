"""What MLflow accepts as names and values, checked before it is sent: nothing is cut or refused later."""

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
"""2100-01-01 in milliseconds since 1970: a larger number was stored in another unit."""
_EXACT = 2.0**53


def same_value(stored: str, given: object) -> bool:
    """Whether a stored parameter means ``given``.

    Numbers are compared by value, comma lists of numbers as sets, ``true`` and ``false`` in any case, and
    ``mlflow run``'s shell quotes do not count.
    """
    first, second = unquoted(stored), param_text(given)
    if first == second or {first.lower(), second.lower()} in ({"true"}, {"false"}):
        return True
    numbers = _numbers(first)
    return numbers is not None and numbers == _numbers(second)


def _numbers(text: str) -> set[Decimal] | None:
    """The numbers of a comma list, or the one number; None where anything else is among them.

    Fractions count as the floats that they become; large whole numbers, such as seeds, are not all floats.
    """
    parts = text.split(",")
    values = [value for part in parts if (value := number(part)) is not None]
    if len(values) < len(parts):
        return None
    pairs = zip(parts, values, strict=True)
    return {Decimal(part.strip()) if abs(value) >= _EXACT else Decimal(value) for part, value in pairs}


def number(text: object) -> float | None:
    """A finite number out of text that anybody may have stored; None where it is none."""
    if not isinstance(text, str | int | float):
        return None
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def whole(text: object) -> int | None:
    """A whole number out of text that anybody may have stored; None where it is none."""
    value = number(text)
    return int(Decimal(str(text))) if value is not None and value.is_integer() else None


def unquoted(stored: str) -> str:
    """A stored parameter without the shell quotes that ``mlflow run`` puts around unusual values."""
    if not stored or stored[0] not in "'\"":
        return stored
    try:
        parts = shlex.split(stored)
    except ValueError:
        return stored
    return parts[0] if len(parts) == 1 else stored


def is_time(stored: "pd.Series[float]") -> "pd.Series[bool]":
    """Which stored numbers are times: milliseconds between 1970 and 2100, and not, say, nanoseconds."""
    return stored.between(0, LAST_MS)


def one_per_step(points: "Iterable[Metric]") -> list[tuple[int, float]]:
    """(step, value) of a metric's stored points in order of the steps; of two points of one step, the later one.

    A step has two points where a process was killed while the server still worked on its last request: the resumed
    process logs the epoch again, with the same value.
    """
    in_order = sorted(points, key=lambda point: (point.step, point.timestamp))
    return list({int(point.step): float(point.value) for point in in_order}.items())


def check_metric_name(name: str) -> None:
    """Raise ValueError for a metric name that MLflow would refuse."""
    if not _is_name(name):
        raise ValueError(f"{name!r} is not a valid metric name; accepted: letters, digits, _ - . : / and spaces")


def check_param(key: str, value: str) -> None:
    """Raise InputError for a parameter that MLflow would refuse or cut."""
    _check("parameter", key, value, _PARAM_LENGTH)


def check_tag(key: str, value: str) -> None:
    """Raise InputError for a tag that MLflow would refuse or cut."""
    _check("tag", key, value, _TAG_LENGTH)


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and len(text) <= _KEY_LENGTH and posixpath.normpath(text) == text


def _check(what: str, key: str, value: str, limit: int) -> None:
    if not _is_name(key):
        raise InputError(f"{key!r} is no {what} name; accepted: letters, digits, _ - . : / and spaces")
    if len(value) > limit:
        raise InputError(f"{what} {key} has {len(value)} characters; accepted: at most {limit}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} {key} is {value!a}; accepted: text that can be written as UTF-8") from None
