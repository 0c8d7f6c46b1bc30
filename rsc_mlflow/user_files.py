"""Rules for the names of families and patterns, and the YAML files with the settings of image folders and pictures."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rsc_mlflow.errors import InputError
from rsc_mlflow.patterns import PATTERNS

_NAME = re.compile(r"[a-z][a-z0-9]{0,49}")
RESERVED_STARTS = ("mem", "twoclass")
RESERVED = ("none", "clean", "auto")


def is_name(text: str) -> bool:
    """Return whether the text can name a family or a pattern: lower-case letters and digits, a letter first."""
    return _NAME.fullmatch(text) is not None


def family_name_problem(name: str) -> str | None:
    """Return why a family cannot have this name, or None if it can."""
    if problem := _problem(name):
        return problem
    if start := next(filter(name.startswith, RESERVED_STARTS), None):
        return f"the name {name!r} starts with {start!r}, which is reserved for a form of dataset name"
    return _ends_in(name, PATTERNS.so_far())


def pattern_name_problem(name: str, families: Iterable[str] = ()) -> str | None:
    """Return why a pattern cannot have this name, or None if it can.

    Args:
        name: the name.
        families: names of families, which may not end in the name.
    """
    if problem := _problem(name):
        return problem
    others = [other for other in PATTERNS.so_far() if other != name]
    for longer in (*others, *families):
        if longer.endswith(name):
            return f"the name {longer!r} ends in {name!r}"
    return _ends_in(name, others)


def _problem(name: str) -> str | None:
    if not is_name(name):
        return f"the name {name!r} must be at most 50 lower-case letters and digits, starting with a letter"
    return f"the name {name!r} is reserved" if name in RESERVED else None


def _ends_in(name: str, patterns: Iterable[str]) -> str | None:
    found = next(filter(name.endswith, patterns), None)
    return None if found is None else f"the name {name!r} ends in the pattern's name {found!r}"


def yaml_settings(path: Path, accepted: Iterable[str]) -> dict[str, Any]:
    """Return the mapping in a YAML file; empty if there is no such file.

    Raises:
        InputError: the file cannot be read, is not a mapping, or has keys other than ``accepted``.
    """
    if not path.is_file():
        return {}
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"Cannot read {path}: {' '.join(str(error).split())}. Fix the file.") from error
    content = {} if content is None else content
    accepted = tuple(accepted)
    if not isinstance(content, dict) or not set(content) <= set(accepted):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"Invalid content in {path}: {found}. Expected the keys {', '.join(accepted)}.")
    return content
