"""The built wheel, installed where there is no checkout: the commands of the first hour in an empty folder."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import requests

from tests.integration.processes import PATIENT, wait_for

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PACKAGES = ("rsc_mlflow", "entry_points", "dashboards")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is written into the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "grids"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(folder)]
    subprocess.run(build, check=True, capture_output=True, timeout=PATIENT)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def rsc(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command ``rsc`` of an environment that has the wheel, and finds its dependencies among those of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=PATIENT)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A line in a .pth file adds a folder, not the .pth files in it: the checkout's editable install stays unseen.
    (folder / "lib" / version / "site-packages" / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel)], check=True, timeout=PATIENT)
    return folder / "bin" / "rsc"


def outside() -> dict[str, str]:
    """An environment that names neither the checkout nor a store."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PYTHON", "COVERAGE"))}


def said(rsc: Path, folder: Path, *words: str) -> str:
    command = [str(rsc), *words]
    done = subprocess.run(
        command, cwd=folder, env=outside(), capture_output=True, text=True, timeout=PATIENT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_packages_and_the_grids(wheel: Path) -> None:
    paths = [path for name in (*PACKAGES, "grids") for path in (ROOT / name).rglob("*") if path.is_file()]
    files = {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}
    shipped = {name.replace("rsc_mlflow/grids/", "grids/") for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in shipped if ".dist-info/" not in name} == files
    assert {"grids/quick/scores.yaml", "dashboards/offline/report.js", "rsc_mlflow/py.typed"} <= files


def test_the_first_hour_in_an_empty_folder(rsc: Path, tmp_path: Path) -> None:
    python = [str(rsc.with_name("python")), "-c", "import rsc_mlflow; print(rsc_mlflow.__file__)"]
    found = subprocess.run(python, cwd=tmp_path, env=outside(), capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(rsc.parents[1])
    *table, last = said(rsc, tmp_path, "quickstart", "--epochs", "1").splitlines()
    assert [line.split()[1] for line in table if line.startswith("│")] == [
        "digits",
        "digitsv20-3-0-0",
        "digitsv20-20-0-0",
    ]
    assert last == "To view the runs and the dashboards, run: rsc serve"
    assert (tmp_path / "mlflow.db").is_file()
    # 2 recipes x (1 clean set + 2 patterns x 3 counts x 4 seeds)
    assert "50 jobs of train_classifier" in said(rsc, tmp_path, "sweep", "--grid", "quick/scores", "--dry_run", "true")
    said(rsc, tmp_path, "report", "--output", "report.html")
    assert "digitsv20-3-0-0" in (tmp_path / "report.html").read_text()
    check_served(rsc, tmp_path)


def check_served(rsc: Path, folder: Path) -> None:
    """``rsc serve`` shows the runs of the store in this folder, in MLflow's API and on the dashboards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(rsc), "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=outside(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            printed = [process.stdout.readline() for _ in range(3)]
            assert printed[1].split() == ["dashboards", f"http://127.0.0.1:{port}/dashboards/"]
            wait_for("the server's answer", lambda: _answers(port), process)
            assert "dashboards.css" in requests.get(f"http://127.0.0.1:{port}/dashboards/", timeout=PATIENT).text
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=PATIENT).ok
    except requests.ConnectionError:
        return False
