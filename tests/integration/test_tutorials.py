"""Every block of every tutorial, executed in order in an empty folder, at a small size."""

import fnmatch
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from PIL import Image

from entry_points.command import status
from entry_points.commands import find_command
from rsc_mlflow.sweeps.executors import EXECUTORS
from rsc_mlflow.sweeps.shipped import shipped_grids
from rsc_mlflow.tracking.query import search
from tests.data_roots import data_root
from tests.printed_commands import ROOT, fenced, shell_lines
from tests.sweeps.test_executor_registry import InThisProcess

__all__ = ["data_root"]

pytestmark = pytest.mark.integration
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
NOT_RUN = {
    "make setup": "makes the environment in which the tests run",
    ". .venv/bin/activate": "the tests run in this environment",
    "rsc serve": "does not end; tests/integration/test_wheel.py starts it and asks for the pages",
    "rsc sweep --grid paper/scores_mlp --executor ray --ray_address HEAD:6379": (
        "HEAD stands for a machine of the reader; tests/integration/test_ray_cluster.py starts a cluster"
    ),
}
"""Commands of the tutorials that are not executed here, and why."""
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SAVED_AS = re.compile(r"Save this as `([\w.]+)`")
NAMED_METRIC = re.compile(r"`((?:attack|gap|spurious|test|unlearn)/[\w/{}]+)`")
NAMED_MODEL = re.compile(r"models:/([\w-]+)@([\w-]+)")
EPOCHS = 1
SMALL = {"epochs": EPOCHS, "clean_seeds": 2}
"""Options of the grids here."""
IMAGES_PER_CLASS = 12  # the largest number of spurious examples in own_data.md is 10


class Reader:
    """Follows a tutorial in the current folder, with ``data_root`` as the folder for data.

    Attributes:
        left_out: the commands that were not run.
    """

    def __init__(self, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._data_root = data_root
        self._monkeypatch = monkeypatch
        self.left_out: list[str] = []

    def follow(self, page: Path) -> None:
        """Execute all blocks in order."""
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            language, content = block.groups()
            if language == "sh":
                for line in shell_lines(content):
                    self._type(line)
            elif language == "text":
                self._make_images(content)
            else:
                assert language == "yaml", f"a block that this test cannot execute: {content}"
                (name,) = SAVED_AS.findall(text[: block.start()].rstrip().splitlines()[-1])
                save_small(yaml.safe_load(content), name)

    def _type(self, line: str) -> None:
        if line in NOT_RUN:
            self.left_out.append(line)
        elif line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self._monkeypatch.setenv(name, value.replace("/path/to/DATA_ROOT", str(self._data_root)))
        elif line.startswith("rsc "):
            run_here(line)
        else:
            run_in_a_process(line)

    def _make_images(self, listed: str) -> None:
        """Make the images that a block lists, and further ones in the same folders."""
        pixels = np.random.default_rng(0)
        for path in (Path(line.replace("DATA_ROOT", str(self._data_root))) for line in listed.split()):
            path.parent.mkdir(parents=True)
            for number in range(IMAGES_PER_CLASS):
                image = Image.fromarray(pixels.integers(0, 256, (8, 8), dtype=np.uint8))
                image.save(path.with_name(f"{int(path.stem) + number}{path.suffix}"))


def run_here(line: str) -> None:
    """Run a command of this project in this process, sweeps too; a shipped grid is replaced by a part of it."""
    name, *arguments = smaller(line)
    if name in ("quickstart", "train_classifier") and "--epochs" not in arguments:
        arguments += ["--epochs", str(EPOCHS)]
    if name == "sweep":
        arguments += ["--executor", "in_this_process"]
        if (grid := arguments[1]) in shipped_grids():
            Path(grid).parent.mkdir(exist_ok=True)
            save_small(yaml.safe_load(shipped_grids()[grid].read_text(encoding="utf-8")), grid)
    assert status(find_command(name), arguments) == 0, line


def run_in_a_process(line: str) -> None:
    """Run a command with variables before it.  ``-P``: without the current folder, as Python starts ``rsc``."""
    variables, command = line.split(" rsc ")
    given = dict(word.split("=", 1) for word in shlex.split(variables))
    Path(f"{given['RSC_PLUGINS']}.py").write_text(plug_in(given["RSC_PLUGINS"]), encoding="utf-8")
    given["PYTHONPATH"] = str(ROOT)
    words = [sys.executable, "-P", "-m", "entry_points", *smaller(f"rsc {command}")]
    done = subprocess.run(words, env=os.environ | given, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr


def smaller(line: str) -> list[str]:
    """The words after ``rsc``, with fewer epochs."""
    return shlex.split(re.sub(r"--epochs \d+", f"--epochs {EPOCHS}", line))[1:]


def save_small(grid: dict[str, Any], name: str) -> None:
    """Write a grid with the first value of each part of the dataset's name, fewer epochs and fewer clean models."""
    parts = {key: value[:1] if isinstance(value, list) else value for key, value in grid["axes"]["dataset"].items()}
    small = {"options": grid["options"] | SMALL, "axes": {"dataset": parts}}
    Path(name).write_text(yaml.safe_dump(grid | small), encoding="utf-8")


def plug_in(name: str) -> str:
    """The example of docs/extending.md with this file name."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"^```python\n(# {name}\.py\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(code)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
@pytest.mark.usefixtures("sqlite_store")
def test_a_tutorial_can_be_followed(page: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXECUTORS._values, "in_this_process", InThisProcess)
    reader = Reader(data_root, monkeypatch)
    reader.follow(page)
    text = page.read_text(encoding="utf-8")
    assert reader.left_out == [line for line in NOT_RUN if line in text], "an entry of NOT_RUN is out of date"
    runs = search([])
    logged = [str(name).removeprefix("metrics.") for name in runs if str(name).startswith("metrics.")]
    for metric in NAMED_METRIC.findall(text):
        assert fnmatch.filter(logged, re.sub(r"\{\w+\}", "*", metric)), f"no run of the tutorial logs {metric}"
    for model in NAMED_MODEL.findall(text):
        assert MlflowClient().get_model_version_by_alias(*model)


def test_every_command_that_is_not_run_is_in_a_tutorial() -> None:
    printed = [line for page in TUTORIALS for line in fenced(page)]
    assert set(NOT_RUN) <= set(printed)
