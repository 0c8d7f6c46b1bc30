"""JSON artifacts that say themselves whether they are whole."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsc_mlflow.errors import InputError

_CHECKSUM = "sha256"


def json_text(content: Mapping[str, object]) -> str:
    """Indented JSON of ``content`` with a ``sha256`` field over the rest, so that damage is noticed."""
    if _CHECKSUM in content:
        raise ValueError(f"{_CHECKSUM!r} is the name of the checksum")
    return json.dumps({**content, _CHECKSUM: _digest(content)}, indent=1, sort_keys=True)


def read_json(path: Path) -> dict[str, Any]:
    """The content that :func:`json_text` wrote, without its checksum.

    Raises:
        InputError: the file is missing, truncated or changed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} is missing or damaged ({error}); log the run again") from error
    if not isinstance(content, dict) or _CHECKSUM not in content:
        raise InputError(f"{path.name} carries no checksum; accepted: files written by this project")
    found = content.pop(_CHECKSUM)
    if found != _digest(content):
        raise InputError(f"{path.name} does not match its checksum: it was changed or damaged; log the run again")
    return content


def _digest(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
