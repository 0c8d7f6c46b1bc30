"""Data roots: the folders that contain datasets and a user's own image folders and pattern images.

They are searched in this order: the option ``data_root``, the environment variable ``RSC_DATA_ROOT``, the user's cache
folder.
"""

import os
from pathlib import Path

from rsc_mlflow.errors import invalid_value

ENVIRONMENT_VARIABLE = "RSC_DATA_ROOT"
_used: dict[Path, None] = {}


def data_roots(data_root: str | Path = "auto") -> list[Path]:
    """Return the folders to search, in order: the option (unless ``auto``), the environment variable, the user's cache.

    Raises:
        InputError: the option or the environment variable is not an existing folder.
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
            raise invalid_value(source, text, "an existing folder. Create it or omit the option")
        roots.append(root)
    roots.append(_cache())
    return list(dict.fromkeys(roots))


def use_root(data_root: str) -> str:
    """Add a folder to :func:`name_roots` for this process, and return the text unchanged.

    Parsing the option ``data_root`` calls this function, because dataset names, which may name a folder in that root,
    are parsed without the option.  ``auto`` and anything that is not a folder are ignored.
    """
    if data_root != "auto" and (root := _folder(data_root)) is not None:
        _used.pop(root, None)
        _used[root] = None
    return data_root


def name_roots() -> list[Path]:
    """Return the folders in which families and patterns are looked up by name.

    These are the folders given to :func:`use_root`, the latest first, then the environment variable's, then the user's
    cache, which need not exist.
    """
    given = os.environ.get(ENVIRONMENT_VARIABLE, "")
    roots = [*reversed(_used), *filter(None, [_folder(given) if given else None]), _cache()]
    return list(dict.fromkeys(roots))


def _cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("rsc-mlflow", appauthor=False)


def _folder(text: str) -> Path | None:
    """Return the resolved folder, or None if it does not exist."""
    try:
        root = Path(os.path.expanduser(text)).resolve()
        return root if root.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long, not encodable, or a link to itself
        return None
