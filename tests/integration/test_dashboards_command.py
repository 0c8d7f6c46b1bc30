"""``python -m dashboards`` as a person starts it: it says where it listens, serves, and ends when it is told to."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


AS_IN_A_TERMINAL = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in its background
runpy.run_module("dashboards", run_name="__main__")
"""


def _start(uri: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", AS_IN_A_TERMINAL, "--tracking_uri", uri, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_serves_until_it_is_interrupted(sqlite_store: str) -> None:
    process = _start(sqlite_store, "--port", "0", "--allowed_hosts", "lab.example:1, other.example")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("Dashboards: ").strip()
        assert address.startswith("http://127.0.0.1:")
        statuses = [
            requests.get(address, headers={"Host": host}, timeout=60).status_code
            for host in ("lab.example:1", "other.example", "evil.example")
        ]
        assert statuses == [200, 200, 403]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()


def test_a_port_that_is_taken_is_said_in_one_line(sqlite_store: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = _start(sqlite_store, "--port", str(port))
        said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said == ("", f"error: cannot listen on 127.0.0.1:{port}; choose another --port (0: any free one)\n")
