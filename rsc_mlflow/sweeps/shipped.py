"""The grids that come with the package: ``quick/scores`` names ``grids/quick/scores.yaml``."""

import os
from pathlib import Path

import rsc_mlflow
from rsc_mlflow.errors import InputError, unknown_name

_PACKAGE = Path(rsc_mlflow.__file__).parent


def shipped_grids() -> dict[str, Path]:
    """Return name → file, sorted.  A wheel contains the grids in the package, a checkout next to it."""
    inside, beside = _PACKAGE / "grids", _PACKAGE.parent / "grids"
    folder = inside if inside.is_dir() else beside
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def grid_file(given: str) -> Path:
    """Return the file of the option ``grid``: the file with this path, or else the shipped grid with this name.

    A shipped grid may be given as in the documentation, too: ``grids/quick/scores.yaml``.

    Raises:
        InputError: there is neither.
    """
    if os.path.exists(given):
        return Path(given)
    grids = shipped_grids()
    name = given.removeprefix("grids/").removesuffix(".yaml")
    if name not in grids:
        raise InputError(f"{unknown_name('grid', given, grids)} The path of a YAML file is accepted, too.")
    return grids[name]
