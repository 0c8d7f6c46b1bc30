"""What the data tests share: an empty machine, a small server, and the real files where they are."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsc_mlflow.data import families
from rsc_mlflow.families import mnist
from rsc_mlflow.roots import ENVIRONMENT_VARIABLE
from tests.data.small_sets import SmallServer, serve

REAL_ROOT = os.environ.get(ENVIRONMENT_VARIABLE, "")


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No data root in the environment, no Debian package, an empty cache folder (returned), nothing loaded yet."""
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "DEBIAN_FASHION_FOLDER", tmp_path / "no-package")
    families._load.cache_clear()
    yield tmp_path / "cache" / "rsc-mlflow"
    families._load.cache_clear()


@pytest.fixture
def server() -> Iterator[SmallServer]:
    with serve() as running:
        yield running


@pytest.fixture
def real_cifar() -> Path:
    """The folder with the real binary CIFAR-10, named by RSC_DATA_ROOT."""
    root = Path(REAL_ROOT)
    if not REAL_ROOT or not (root / "cifar-10-batches-bin").is_dir():
        pytest.skip(f"{ENVIRONMENT_VARIABLE} names no folder with cifar-10-batches-bin")
    return root


@pytest.fixture
def real_root() -> Path:
    """The folder with the real files, named by RSC_DATA_ROOT."""
    root = Path(REAL_ROOT)
    if not REAL_ROOT or not (root / "MNIST" / "raw").is_dir() or not (root / "FashionMNIST" / "raw").is_dir():
        pytest.skip(f"{ENVIRONMENT_VARIABLE} names no folder with MNIST and FashionMNIST")
    return root
