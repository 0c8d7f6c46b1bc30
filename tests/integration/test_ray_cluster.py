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


def test_a_node_is_killed_in_mid_sweep(nodes: RayNodes, own_server: MlflowServer, tmp_path: Path) -> None:
    nodes.start().start()
    lacking = [sys.executable, "-c", "import rsc_mlflow.sweeps"]
    done = subprocess.run(lacking, env=nodes.environment, cwd="/", capture_output=True, text=True, check=False)
    assert "No module named 'rsc_mlflow" in done.stderr
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(nodes.token_file)}
    sweep = _sweep(nodes, tmp_path, own_server.uri, **token)
    try:
        sweep.start()
        on_second: set[int] = set()

        def both_nodes_train() -> bool:
            nonlocal on_second
            training = set(training_processes(own_server.uri))
            on_second = training & nodes.processes(1)
            return bool(on_second) and bool(training & nodes.processes(0))

        sweep.until(both_nodes_train)
        nodes.kill(1)
        assert sweep.wait() == 0, sweep.text()
    finally:
        sweep.end()
    assert_each_job_finished_once(own_server.uri, JOBS)
    assert any("rsc.resumed" in run.data.tags for run in jobs_of(runs(own_server.uri)))  # what was killed went on


def test_a_wrong_or_missing_token_is_named(nodes: RayNodes, own_server: MlflowServer, tmp_path: Path) -> None:
    nodes.start()
    empty = tmp_path / "home"
    empty.mkdir()
    for environment, said in (
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "not that of the cluster"}, "missing or incorrect"),
        ({"HOME": str(empty)}, "missing or incorrect"),
        ({"HOME": str(empty), "RAY_AUTH_MODE": "token"}, "no authentication token was found"),
    ):
        sweep = _sweep(nodes, tmp_path, own_server.uri, **environment)
        sweep.start()
        assert sweep.wait() == 2, sweep.text()
        last = sweep.text().splitlines()[-1]
        assert last.startswith(f"error: Ray at ray_address '{nodes.address}' refused the log-in (")
        assert said in last
        assert "set RAY_AUTH_MODE=token" in last
    assert runs(own_server.uri) == []
