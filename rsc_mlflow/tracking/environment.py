"""Records package versions, commit and hardware of a run in ``environment.json``."""

import functools
import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from rsc_mlflow.registries import plugin_versions
from rsc_mlflow.tracking import mlflow_compat, schema

_SHOWN_PACKAGES = ("rsc-mlflow", "torch", "torchvision", "numpy", "scikit-learn", "mlflow")
_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


@functools.cache
def packages() -> dict[str, str]:
    """Return name → version of each installed distribution."""
    found = ((item.metadata["Name"], item.version) for item in metadata.distributions())
    return dict(sorted((name, version) for name, version in found if name))


@functools.cache
def _processor() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"{os.cpu_count()} × {names[0] if names else platform.processor() or platform.machine()}"


@functools.cache
def _gpu() -> str:
    if not torch.cuda.is_available():
        return "none"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def source_tags() -> dict[str, str]:
    """Return the tags that ``mlflow.start_run`` would set: user, program, git commit and ``MLFLOW_RUN_CONTEXT``.

    If the program is not in a git repository, the commit is that of this project.
    """
    found = mlflow_compat.context_tags()
    if mlflow_compat.GIT_COMMIT not in found and (commit := _git("rev-parse", "HEAD")):
        found[mlflow_compat.GIT_COMMIT] = commit
    if mlflow_compat.GIT_COMMIT in found:
        found[mlflow_compat.GIT_DIRTY] = "true" if _git("status", "--porcelain", "--untracked-files=no") else "false"
    return found


@functools.cache
def _git(*arguments: str) -> str:
    """Return the output of a git command in the folder of this package; empty without git or a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def tags() -> dict[str, str]:
    """Return the tag ``rsc.plugins`` if plug-ins are installed; all else is in ``environment.json``."""
    plugins = plugin_versions()
    return {schema.PLUGINS: ", ".join(f"{name} {version}" for name, version in plugins.items())} if plugins else {}


def record() -> dict[str, object]:
    """Return the contents of ``environment.json``."""
    return {
        "packages": packages(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": _gpu(),
        "cuda": torch.version.cuda or "none",
        "host": host(),
    }


def in_short(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a :func:`record` that runs are compared by, as the tags that earlier versions set."""
    packages = environment["packages"]
    values = {name: packages.get(name, "not installed") for name in _SHOWN_PACKAGES}
    values |= {name: str(environment[name]) for name in ("python", "cpu", "threads", "gpu")}
    return {schema.ENVIRONMENT_PREFIX + key: value for key, value in values.items()}
