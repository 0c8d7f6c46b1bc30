"""What an import and a command load: nothing heavy for help, no usage statistics unless they were asked for."""

import os
import subprocess
import sys

import pytest


def test_help_and_a_wrong_option_import_nothing_heavy() -> None:
    program = """
import sys
from entry_points.command import status
from entry_points.__main__ import listing
from entry_points.commands import find_command, programs
print(listing())
for name in programs():
    cli = find_command(name)
    assert status(cli, ["--help"]) == 0, name
    assert status(cli, [f"--{cli.params[-1].name}", "\\0"]) == 2, name
heavy = {"torch", "mlflow", "torchvision", "sklearn", "plotly", "pandas", "matplotlib"}
print("imported:", *(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:", done.stdout


@pytest.mark.parametrize(
    "module", ["rsc_mlflow.tracking.run", "dashboards.__main__", "rsc_mlflow.sweeps.fork_server_imports"]
)
def test_usage_statistics_are_off_unless_they_were_asked_for(module: str) -> None:
    program = f"import {module}; from mlflow.telemetry import client; print(client.get_telemetry_client())"
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # MLflow knows tests and CI
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=plain)
    assert done.stdout.splitlines()[-1] == "None"
    program = "import os, rsc_mlflow; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    asked = plain | {"MLFLOW_DISABLE_TELEMETRY": "false"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=asked)
    assert done.stdout.split() == ["false"]
