"""What MLflow accepts as names and values, checked before it is sent: nothing is cut or refused later."""

import posixpath
import re
import shlex

import pandas as pd

from rsc_mlflow.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. :]*(?:/[A-Za-z0-9_\-. :]+)*")
_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
LAST_MS = 4_102_444_800_000.0
"""2100-01-01 in milliseconds since 1970: a larger number was stored in another unit."""


def param_text(value: object) -> str:
    """A parameter as one types it: ``true``, ``none``, and the shortest exact text of a float."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def same_value(stored: str, given: object) -> bool:
    """Whether a stored parameter means ``given``: numbers by value, and ``mlflow run``'s shell quotes ignored."""
    first, second = unquoted(stored), param_text(given)
    if first == second:
        return True
    try:
        return float(first) == float(second)
    except ValueError:
        return False


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


def check_metric_name(name: str) -> None:
    """Raise ValueError for a metric name that MLflow would refuse."""
    if not _is_name(name):
        raise ValueError(f"{name!r} is no metric name; accepted: letters, digits, _ - . : / and spaces")


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
