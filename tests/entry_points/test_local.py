"""``rsc serve`` before it serves: what it refuses.  What it serves is tested with the wheel."""

import socket

import pytest

from entry_points.command import status
from entry_points.commands import find_command


def test_a_port_that_is_taken_is_said_in_one_line(sqlite_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert status(find_command("serve"), ["--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: Cannot listen on 127.0.0.1:{port}. Use another port, such as 5001, or another host.\n"


def test_a_server_is_not_served_again(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    mlflow.set_tracking_uri("https://name:secret@lab.example")
    assert status(find_command("serve"), []) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: MLFLOW_TRACKING_URI is already a server: 'https://name:***@lab.example'.")
