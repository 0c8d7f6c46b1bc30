"""Nodes of a Ray cluster as ``ray start`` makes them, each a process group of its own on loopback."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.mlflow_server import free_port

ROOT = Path(__file__).parents[2]
WITHOUT_PROJECT = f"""
import sys
sys.path[:] = [folder for folder in sys.path if folder != {str(ROOT)!r}]
"""
"""A ``sitecustomize`` that takes away a project that is installed in development mode."""


class RayNodes:
    """A cluster whose nodes have Python and the dependencies, but not this project.

    Args:
        folder: for logs and the token.
        token: the cluster's token.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.port = free_port()
        self.token_file = folder / "token"
        self.token_file.write_text(token)
        self._folder = folder
        self._state = tempfile.mkdtemp(prefix="rsc-ray-", dir="/tmp")  # sockets below it: paths must be short
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(WITHOUT_PROJECT)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RSC_", "RAY_"))}
        self.environment = clean | {"PYTHONPATH": str(folder / "site"), "RAY_USAGE_STATS_ENABLED": "0"}
        self.environment |= {"RAY_worker_niceness": "0"}  # else they starve beside other tests
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        self._nodes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return f"127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> "RayNodes":
        """Start a node with one CPU: the head first, then others that join it."""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--num-gpus=0"]
        if self._nodes:
            command += [f"--address={self.address}"]
        else:
            command += ["--head", f"--port={self.port}", f"--temp-dir={self._state}", "--include-dashboard=false"]
        command += ["--object-store-memory=100000000", f"--dashboard-agent-listen-port={free_port()}", *arguments]
        for attempt in range(3):  # Ray gives a node 30 s, too little on a crowded machine
            node, log = self._start_once(command, attempt)
            if node is not None:
                self._nodes.append(node)
                return self
        raise AssertionError(log.read_text())

    def _start_once(self, command: list[str], attempt: int) -> tuple[subprocess.Popen[bytes] | None, Path]:
        log = self._folder / f"node-{len(self._nodes)}-{attempt}.log"
        with log.open("wb") as file:
            node = subprocess.Popen(
                command, env=self.environment, cwd=self._folder, stdout=file, stderr=file, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and node.poll() is None:
            if "Ray runtime started" in log.read_text():
                return node, log
            time.sleep(0.2)
        _kill(node)
        return None, log

    def processes(self, number: int) -> set[int]:
        """Ids of a node's processes, its workers included."""
        return _family(self._nodes[number])

    def kill(self, number: int) -> None:
        """``kill -9`` of a node with all that runs on it."""
        _kill(self._nodes[number])

    def stop(self) -> None:
        """Kill all that is left, and remove what Ray wrote."""
        for node in reversed(self._nodes):
            _kill(node)
        shutil.rmtree(self._state, ignore_errors=True)


def _family(node: subprocess.Popen[bytes]) -> set[int]:
    try:
        parent = psutil.Process(node.pid)
        return {one.pid for one in [parent, *parent.children(recursive=True)]}
    except psutil.NoSuchProcess:
        return set()


def _kill(node: subprocess.Popen[bytes]) -> None:
    if node.poll() is None:
        for process in _family(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    node.wait()
