"""A sweep on a Ray cluster of two nodes with a token: what one loses the other does, and nodes need no project."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ray_nodes import RayNodes
from tests.integration.sweep_process import (
    JOBS,
    SweepProcess,
    assert_each_job_finished_once,
    finished,
    jobs_of,
    runs,
    training_processes,
)
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration
TOKEN = "a token that is long enough to be one"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[RayNodes]:
    made = RayNodes(tmp_path, TOKEN)
    yield made
    made.stop()


def _sweep(nodes: RayNodes, folder: Path, uri: str, **environment: str) -> SweepProcess:
    sweep = SweepProcess(folder, uri, "--executor", "ray", "--ray_address", nodes.address, "--cohort_size", "1")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        sweep.environment.pop(name, None)
    sweep.environment |= environment
    return sweep


def test_a_node_then_the_sweep_are_killed(nodes: RayNodes, own_server: MlflowServer, tmp_path: Path) -> None:
    """Whoever has no token is refused; the node that is left does the other's work, for the next sweep too."""
    nodes.start()
    check_refusals(nodes, tmp_path)
    nodes.start()
    lacking = [sys.executable, "-c", "import rsc_mlflow.sweeps"]
    done = subprocess.run(lacking, env=nodes.environment, cwd="/", capture_output=True, text=True, check=False)
    assert "No module named 'rsc_mlflow" in done.stderr
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(nodes.token_file)}
    sweep = _sweep(nodes, tmp_path, own_server.uri, **token)

    def both_nodes_train() -> bool:
        training = set(training_processes(own_server.uri))
        return bool(training & nodes.processes(1)) and bool(training & nodes.processes(0))

    try:
        sweep.start()
        sweep.until(both_nodes_train)
        nodes.kill(1)
        sweep.until(lambda: finished(own_server.uri) and training_processes(own_server.uri))
        sweep.kill()
        before = finished(own_server.uri)
        sweep.start()
        assert sweep.wait() == 0, sweep.text()
    finally:
        sweep.end()
    assert_each_job_finished_once(own_server.uri, JOBS)
    assert finished(own_server.uri).items() >= before.items()  # never run again
    assert any("rsc.resumed" in run.data.tags for run in jobs_of(runs(own_server.uri)))  # what was killed went on


def check_refusals(nodes: RayNodes, folder: Path) -> None:
    """With a wrong token or none the sweep ends with one line that says so, before it opens a run."""
    empty = folder / "home"
    empty.mkdir()
    store = f"sqlite:///{folder / 'refused.db'}"
    for environment, said in (
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "not that of the cluster"}, "missing or incorrect"),
        ({"HOME": str(empty)}, "missing or incorrect"),
        ({"HOME": str(empty), "RAY_AUTH_MODE": "token"}, "no authentication token was found"),
    ):
        sweep = _sweep(nodes, folder / "refused", store, **environment)
        sweep.start()
        assert sweep.wait() == 2, sweep.text()
        last = sweep.text().splitlines()[-1]
        assert last.startswith(f"error: Ray at ray_address '{nodes.address}' refused the log-in (")
        assert said in last
        assert "Set RAY_AUTH_MODE=token" in last
    assert runs(store) == []
