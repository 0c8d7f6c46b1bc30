"""Data roots: the folders that hold datasets and a user's own folders and pictures.

A root is searched where the ``data_root`` option names it, then where the environment variable ``RSC_DATA_ROOT``
does, then in the per-user cache folder.
"""

import os
from pathlib import Path

from rsc_mlflow.errors import InputError

ENVIRONMENT_VARIABLE = "RSC_DATA_ROOT"
_used: dict[Path, None] = {}


def data_roots(data_root: str | Path = "auto") -> list[Path]:
    """The roots to search, in order: the option (unless ``auto``), the environment variable, the user's cache.

    Raises:
        InputError: the option or the environment variable names no existing folder.
    """
    given = {
        "data_root": "" if str(data_root) == "auto" else str(data_root),
        ENVIRONMENT_VARIABLE: os.environ.get(ENVIRONMENT_VARIABLE, ""),
    }
    roots = []
    for source, text in given.items():
        if not text:
            continue
        root = _folder(text)
        if root is None:
            raise InputError(f"{source} {text!r} is not a folder; accepted: an existing folder, or leave it out")
        roots.append(root)
    roots.append(_cache())
    return list(dict.fromkeys(roots))


def use_root(data_root: str) -> str:
    """Search this root too for the folders and pictures that names stand for; returns the text as it is.

    Names are parsed without knowing the ``data_root`` option.  Reading that option therefore adds its folder, for
    this process, to those that :func:`name_roots` gives.  ``auto`` and what is not a folder add nothing.
    """
    if data_root != "auto" and (root := _folder(data_root)) is not None:
        _used.pop(root, None)
        _used[root] = None
    return data_root


def name_roots() -> list[Path]:
    """The roots in which families and patterns are looked up by name, those last used first; none has to exist."""
    given = os.environ.get(ENVIRONMENT_VARIABLE, "")
    roots = [*reversed(_used), *filter(None, [_folder(given) if given else None]), _cache()]
    return list(dict.fromkeys(roots))


def _cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("rsc-mlflow", appauthor=False)


def _folder(text: str) -> Path | None:
    """The existing folder of that name, if there is one."""
    try:
        root = Path(os.path.expanduser(text)).resolve()
        return root if root.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long, no text a file system takes, a link to itself
        return None
