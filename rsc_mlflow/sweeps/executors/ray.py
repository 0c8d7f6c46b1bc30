"""Executor ``ray``: Ray tasks, on this machine or on a cluster."""

import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rsc_mlflow
from rsc_mlflow.errors import InputError
from rsc_mlflow.sweeps.executors import EXECUTORS, GRACE_SECONDS, Result, cores
from rsc_mlflow.sweeps.gpus import WORKERS_PER_GPU, workers_on_a_gpu
from rsc_mlflow.tracking.project_run import RUN_ID_VARIABLE

if TYPE_CHECKING:
    from rsc_mlflow.sweeps.worker import Unit

CARRIED = ("MLFLOW_", "RSC_")
"""Prefixes of the environment variables that are passed to the tasks on a cluster."""
TOKEN_HELP = (
    "Set RAY_AUTH_MODE=token and provide the cluster's token in RAY_AUTH_TOKEN, in the file RAY_AUTH_TOKEN_PATH, or in "
    "~/.ray/auth_token."
)


class RayExecutor:
    """Runs units as Ray tasks.

    Args:
        workers: maximum number of tasks at the same time; None: two per GPU, or one per CPU without GPUs.
        address: ``local`` to start Ray on this machine, ``auto``, or the address of a cluster.
    """

    def __init__(self, workers: int | None, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise InputError(
                "executor=ray requires the package ray. "
                "Install it (pip install 'rsc-mlflow[cluster]') or use executor=local."
            ) from None
        from rsc_mlflow.sweeps.worker import run_unit

        self._ray: Any = ray
        self._connect(workers, address)
        there = ray.cluster_resources()
        total = max(1, int(there.get("CPU", 1)))
        self.gpus = int(there.get("GPU", 0))
        self.workers = workers or WORKERS_PER_GPU * self.gpus or total
        self.threads = max(1, total // self.workers)
        share = 1 / workers_on_a_gpu(self.workers, self.gpus) if self.gpus else 0
        resources = {"num_cpus": self.threads, "num_gpus": share}
        self._task = ray.remote(**resources, max_retries=3, max_calls=0)(run_unit)
        self._units: dict[Any, Unit] = {}

    def _connect(self, workers: int | None, address: str) -> None:
        """Start Ray on this machine, or connect to a cluster and send it this package."""
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address == "local":
            options |= {"num_cpus": max(cores(), workers or 1), "include_dashboard": False}
            options |= {"_node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
            self._ray.init(address=address, **options)
            return
        _check_reachable(address)
        with _standard_error() as written:
            try:
                self._ray.init(address=address, runtime_env=runtime_env(), **options)
            except (OSError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
                raise _refused(address, error, written()) from error

    def submit(self, unit: "Unit") -> None:
        """See :class:`Executor`."""
        self._units[self._task.remote(unit)] = unit

    def wait(self, seconds: float) -> list[Result]:
        """See :class:`Executor`."""
        if not self._units:
            return []
        ready, _ = self._ray.wait(list(self._units), num_returns=1, timeout=seconds)
        return [self._collect(reference) for reference in ready]

    def close(self, *, keep_logs: bool = True) -> None:
        """See :class:`Executor`."""
        for reference in self._units:
            self._ray.cancel(reference, force=False)
        if self._units:
            self._ray.wait(list(self._units), num_returns=len(self._units), timeout=GRACE_SECONDS)
        self._units.clear()
        self._ray.shutdown()

    def _collect(self, reference: Any) -> Result:
        from rsc_mlflow.sweeps.failures import excerpt, explanation

        unit = self._units.pop(reference)
        try:
            return Result(unit, self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            return Result(unit, None, *explanation("its Ray task failed", error, error.cause))
        except self._ray.exceptions.RayError as error:
            lost = " ".join(str(error).split())[:200] or type(error).__name__
            return Result(unit, None, f"its Ray task was lost ({lost})", excerpt(str(error)))


@partial(EXECUTORS.register, "ray")
def ray_tasks(workers: int | str, ray_address: str, jobs: int) -> RayExecutor:
    """Return the executor for the options ``workers`` and ``ray_address``."""
    return RayExecutor(workers if isinstance(workers, int) else None, ray_address)


def runtime_env() -> dict[str, Any]:
    """Return Ray's runtime environment for the tasks on a cluster: this package and the variables it reads."""
    variables = {k: v for k, v in os.environ.items() if k.startswith(CARRIED) and k != RUN_ID_VARIABLE}
    return {"py_modules": [str(Path(rsc_mlflow.__file__).parent)], "env_vars": variables}


def _check_reachable(address: str) -> None:
    """Check that HOST:PORT or ray://HOST:PORT accepts connections; Ray itself would retry for 15 minutes."""
    if ":" not in address:
        return
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _absent(address, error) from error


def _absent(address: str, error: Exception) -> InputError:
    return InputError(
        f"No Ray cluster answers at ray_address {address!r} ({error}). Start one (ray start --head) or use local."
    )


def _refused(address: str, error: Exception, written: str) -> InputError:
    """Return the error with Ray's reason, from its exception or, for a wrong token, from its standard error."""
    said = re.search(r"Unauthenticated: (?:RPC error: )?(.+)", written)
    if said or type(error).__name__ == "AuthenticationError":
        text = said[1].strip() if said else str(getattr(error, "message", error))
        return InputError(f"Ray at ray_address {address!r} refused the log-in ({text}). {TOKEN_HELP}")
    if address == "auto":
        return _absent(address, error)
    text = " ".join(str(error).split())
    return InputError(
        f"Cannot join Ray at ray_address {address!r}: {text}. Its versions of Ray and Python must be the same as here."
    )


@contextlib.contextmanager
def _standard_error() -> Iterator[Callable[[], str]]:
    """Capture file descriptor 2, to which Ray's C++ core writes the same error every second."""
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def written() -> str:
            file.seek(0)
            return file.read()

        try:
            yield written
        finally:
            os.dup2(saved, 2)
            os.close(saved)
