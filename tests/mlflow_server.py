"""A real ``mlflow server`` as a process that tests start, kill and start again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import requests

START_SECONDS = 240.0
_LOG_IN = """[mlflow]
default_permission = {permission}
database_uri = sqlite:///{folder}/users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""
"""MLflow's own settings, but for the cache: without it, each request computes a password hash, for a second."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_in(folder: Path, admins_password: str, permission: str = "READ") -> dict[str, str]:
    """Environment of a server with MLflow's log-in, whose settings are written into ``folder``."""
    (folder / "auth.ini").write_text(_LOG_IN.format(folder=folder, permission=permission))
    return {
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "made by a test",
        "MLFLOW_AUTH_ADMIN_PASSWORD": admins_password,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
    }


class MlflowServer:
    """One worker, no job runner, its own SQLite store (unless ``backend`` says otherwise) and artifact folder.

    Args:
        folder: for its store, artifacts and log.
        backend: backend store URI.
        arguments: further flags of ``mlflow server``, e.g. ``["--app-name", "rsc"]``.
        environment: further environment variables.
        host: address to listen on; None leaves it to the server.
    """

    def __init__(
        self,
        folder: Path,
        backend: str | None = None,
        arguments: list[str] | None = None,
        environment: dict[str, str] | None = None,
        host: str | None = "127.0.0.1",
    ) -> None:
        self.folder = folder
        self.host = host
        self.backend = backend or f"sqlite:///{folder / 'mlflow.db'}"
        self.arguments = arguments or []
        self.environment = environment or {}
        self.port = free_port()
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Its address, the same after every start."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "MlflowServer":
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--host", self.host] if self.host else []
        command += ["--backend-store-uri", self.backend]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), *self.arguments]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=clean | quiet | self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()
        return self

    def listens_on(self) -> set[tuple[str, int]]:
        """Every (address, port) that one of its processes listens on."""
        sockets = [one for process in self._processes() for one in process.net_connections()]
        return {(one.laddr.ip, one.laddr.port) for one in sockets if one.status == psutil.CONN_LISTEN}

    def loaded(self, library: str) -> int:
        """How many of its processes have loaded a library, such as ``uvloop``."""
        return sum(any(f"/{library}/" in one.path for one in process.memory_maps()) for process in self._processes())

    def processor_seconds(self) -> float:
        """CPU time that its processes have used so far."""
        times = [one.cpu_times() for one in self._processes()]
        return sum(one.user + one.system for one in times)

    def _processes(self) -> list[psutil.Process]:
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def kill(self) -> None:
        """``kill -9`` the whole server at once, as a power cut would."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, number)  # its own session: nobody else's process is in it
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        except ProcessLookupError:
            process.wait()

    def _prefix(self) -> str:
        flag = "--static-prefix"
        return self.arguments[self.arguments.index(flag) + 1] if flag in self.arguments else ""

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}: {self.log.read_text()[-2000:]}")
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.uri}{self._prefix()}/health", timeout=5).ok:
                    return
            time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"the server did not answer within {START_SECONDS:.0f} s: {self.log.read_text()[-2000:]}")
