"""Time to install this project in a new environment: ``python -m benchmarks setup``.

Installs, with pip and with uv, the packages for ``make quickstart`` and those for ``make setup``, including downloads
and without caches.  Temporarily needs about 15 GB of disk space.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import click

from benchmarks.measuring import machine, print_table, timed

ROOT = Path(__file__).parents[1]
REQUIREMENTS = {"core (make quickstart)": ".", "everything (make setup)": ".[dev,cluster,postgres]"}


@click.command()
def main() -> None:
    """Print the seconds of each installation."""
    print(machine())
    rows = []
    for what, requirement in REQUIREMENTS.items():
        seconds = [timed(partial(_install, tool, requirement)).wall for tool in ("pip", "uv")]
        rows.append([what, *(f"{one:.0f} s" for one in seconds), f"{seconds[0] / seconds[1]:.1f} ×"])
    print_table(["fresh environment, no cache", "pip", "uv", "pip / uv"], rows)


def _install(tool: str, requirement: str) -> None:
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as folder:
        python = f"{folder}/venv/bin/python"
        wanted = ["--constraint", "constraints.txt", requirement]
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        if tool == "pip":
            _run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", *wanted])
            return
        _run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "uv"])
        _run([python, "-m", "uv", "pip", "install", "--quiet", "--python", python, "--no-cache", *wanted])


def _run(words: list[str]) -> None:
    subprocess.run(words, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
