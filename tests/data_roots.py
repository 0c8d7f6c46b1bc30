"""A data root of its own for each test."""

from pathlib import Path

import pytest

from rsc_mlflow import roots
from rsc_mlflow.data import families


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that RSC_DATA_ROOT names; the cache folder is empty too, and no other root has been used."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("RSC_DATA_ROOT", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(roots, "_used", {})
    families._load.cache_clear()
    return root
