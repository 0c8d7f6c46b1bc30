"""JSON artifacts with a checksum."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsc_mlflow.errors import InputError

_CHECKSUM = "sha256"


def json_text(content: Mapping[str, object]) -> str:
    """Return indented JSON of ``content`` with a field ``sha256``, the checksum of the other fields."""
    if _CHECKSUM in content:
        raise ValueError(f"The key {_CHECKSUM!r} is reserved for the checksum.")
    return json.dumps({**content, _CHECKSUM: _digest(content)}, indent=1, sort_keys=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a file written by :func:`json_text`, without the checksum.

    Raises:
        InputError: the file is missing, truncated or changed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} is missing or damaged ({error}). Log the run again.") from error
    if not isinstance(content, dict) or _CHECKSUM not in content:
        raise InputError(f"{path.name} has no checksum. Expected a file written by this project.")
    found = content.pop(_CHECKSUM)
    if found != _digest(content):
        raise InputError(f"{path.name} does not match its checksum: it was changed or damaged. Log the run again.")
    return content


def _digest(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
