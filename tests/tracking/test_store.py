import http.server
import socketserver
import threading
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.store import connect, is_passing, patiently, reason, shown
from tests.mlflow_server import free_port


def test_a_store_that_answers(sqlite_store: str) -> None:
    assert connect().tracking_uri == sqlite_store


def test_no_server_is_said_within_seconds() -> None:
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(InputError, match=r"no server answers at http://127.0.0.1:\d+; start the server"):
        connect()
    assert time.monotonic() - started < 5


def test_another_server_is_not_taken_for_mlflow() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        mlflow.set_tracking_uri(f"http://127.0.0.1:{other.server_address[1]}")
        with pytest.raises(InputError, match="does not answer"):
            connect()
        other.shutdown()


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", ""])
def test_patience_is_a_number(sqlite_store: str, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RSC_PATIENCE_SECONDS", text)
    with pytest.raises(InputError, match="RSC_PATIENCE_SECONDS is"):
        connect()


def test_no_database_server_is_said_within_seconds() -> None:
    mlflow.set_tracking_uri(f"postgresql+psycopg://someone:secret@127.0.0.1:{free_port()}/mlflow")
    with pytest.raises(InputError, match=r"does not answer") as caught:
        connect()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("damage", ["folder is a file", "not a database", "is a folder"])
def test_an_sqlite_file_that_cannot_be_written(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "mlflow.db"
    if damage == "folder is a file":
        path.write_text("x")
        path = path / "mlflow.db"
    elif damage == "not a database":
        path.write_text("no database at all " * 100)
    else:
        path.mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    with pytest.raises(InputError, match="cannot be written"):
        connect()


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert shown("sqlite:///a.db") == "sqlite:///a.db"


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (MlflowException("x", TEMPORARILY_UNAVAILABLE), True),
        (MlflowException("x"), True),
        (MlflowException("x", INVALID_PARAMETER_VALUE), False),
        (MlflowException("x", BAD_REQUEST), False),
        (MlflowException("QueuePool limit of size 5 overflow 10 reached, connection timed out", BAD_REQUEST), True),
        (
            MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases", BAD_REQUEST),
            True,
        ),
        (MlflowException("(psycopg.errors.UniqueViolation) duplicate key value violates", BAD_REQUEST), True),
        (ConnectionResetError(), True),
        (ValueError("x"), False),
    ],
)
def test_which_errors_pass(error: Exception, passing: bool) -> None:
    assert is_passing(error) is passing


def test_patience_ends() -> None:
    calls = []

    def away() -> None:
        calls.append(1)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        patiently(away, "test", seconds=0.6)
    assert len(calls) == 2


def test_a_refusal_is_not_repeated() -> None:
    calls = []

    def refused() -> None:
        calls.append(1)
        raise MlflowException("no", INVALID_PARAMETER_VALUE)

    with pytest.raises(MlflowException):
        patiently(refused, "test", seconds=5)
    assert len(calls) == 1


def test_an_answer_after_a_pause() -> None:
    calls: list[int] = []

    def third_time() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionResetError
        return 7

    assert patiently(third_time, "test", seconds=5) == 7


def test_reasons_are_one_line() -> None:
    assert reason(ValueError("a\n  b")) == "ValueError: a b"
    assert reason(InputError("bad")) == "bad"
    assert reason(ValueError()) == "ValueError: no message"
    assert len(reason(ValueError("x" * 2000))) == 500
