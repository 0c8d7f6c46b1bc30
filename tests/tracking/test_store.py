import http.server
import socketserver
import threading
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    CUSTOMER_UNAUTHORIZED,
    INVALID_PARAMETER_VALUE,
    NOT_IMPLEMENTED,
    PERMISSION_DENIED,
    RESOURCE_ALREADY_EXISTS,
    TEMPORARILY_UNAVAILABLE,
)

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import store
from rsc_mlflow.tracking.store import (
    StoreError,
    connect,
    is_transient,
    look_up,
    reason,
    redact_passwords,
    remove_tag,
    retry_timeout,
    with_retries,
)
from tests.mlflow_server import free_port


def test_no_server_is_said_at_once() -> None:
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match=r"No server answers at http://127.0.0.1:\d+. Start the server"):
        connect()


@pytest.mark.parametrize(("scheme", "why"), [("http", "501"), ("https", "SSLError")])
def test_another_server_is_not_taken_for_mlflow(scheme: str, why: str) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        mlflow.set_tracking_uri(f"{scheme}://127.0.0.1:{other.server_address[1]}")
        with pytest.raises(InputError, match=rf"does not answer \(.*{why}"):
            connect()
        other.shutdown()


def test_the_store_is_asked_once_by_each_process(sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(store, "_ask", asked.append)
    assert [connect().tracking_uri for _ in range(3)] == [sqlite_store] * 3
    assert asked == [sqlite_store]


@pytest.mark.parametrize("name", ["RSC_RETRY_TIMEOUT_SECONDS", "RSC_PATIENCE_SECONDS"])
def test_the_retry_timeout_is_a_number_under_its_former_name_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("soon", "-1", "nan", "inf", ""):
        monkeypatch.setenv(name, text)
        with pytest.raises(InputError, match=f"Invalid value for '{name}'"):
            connect()
    monkeypatch.setenv(name, "7.5")
    assert retry_timeout() == 7.5


def test_passwords_are_not_shown() -> None:
    assert redact_passwords("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert (
        redact_passwords("at http://me:p@ss:word@host:5000/api and elsewhere")
        == "at http://me:***@host:5000/api and elsewhere"
    )
    for address in ("sqlite:///a.db", "http://host:5000/a@b", "http://me@host/", "see 10:30 @ home"):
        assert redact_passwords(address) == address


@pytest.mark.parametrize("address", ["postgres://me:secret@host/db", "http://me:secret@127.0.0.1:{port}", "x://[:1"])
def test_addresses_that_mlflow_does_not_take_keep_their_password(address: str) -> None:
    """MLflow puts the address as it is into its own messages."""
    mlflow.set_tracking_uri(address.format(port=free_port()))
    with pytest.raises(StoreError) as caught:
        connect()
    assert "secret" not in str(caught.value)
    error = MlflowException(f"API request to {address} failed")
    assert "secret" not in reason(error)


def test_a_store_that_has_answered_in_another_process_is_waited_for(sqlite_store: str, tmp_path: Path) -> None:
    away = tmp_path / "away.db"
    away.mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{away}")
    with pytest.raises(StoreError, match="cannot be written"):
        connect()

    def come_back() -> None:
        away.rmdir()
        (tmp_path / "mlflow.db").rename(away)

    threading.Timer(0.5, come_back).start()
    assert connect(known=True).search_experiments()[0].name == "Default"


def test_a_tag_that_is_gone_already(sqlite_store: str) -> None:
    client = connect()
    run_id = client.create_run("0", tags={"a": "b"}).info.run_id
    for _ in range(2):
        remove_tag(client, run_id, "a")
    assert "a" not in client.get_run(run_id).data.tags
    client.delete_run(run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        remove_tag(client, run_id, "a")


def _answered(status: int) -> requests.HTTPError:
    """What an upload raises that was answered so."""
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError("x", response=answer)


@pytest.mark.parametrize(
    ("error", "transient"),
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
        (MlflowException("a already exists. Error: UNIQUE constraint failed: a.name", RESOURCE_ALREADY_EXISTS), False),
        (MlflowException("API request to endpoint /x failed with error code 413 != 200. Response body: ''"), False),
        (MlflowException("API request to endpoint /x failed with error code 429 != 200. Response body: ''"), True),
        (MlflowException("API request to endpoint /x failed with error code 502 != 200. Response body: ''"), True),
        (MlflowException("x", PERMISSION_DENIED), False),
        (MlflowException("x", CUSTOMER_UNAUTHORIZED), False),
        (MlflowException("x", NOT_IMPLEMENTED), False),
        (ConnectionResetError(), True),
        (ValueError("x"), False),
        (_answered(403), False),
        (_answered(413), False),
        (_answered(429), True),
        (_answered(500), True),
        (requests.ConnectionError("x"), True),
    ],
)
def test_which_errors_are_transient(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    ("failures", "seconds", "calls", "raised"),
    [
        ([ConnectionResetError()] * 9, 0.6, 2, ConnectionResetError),
        ([ConnectionResetError()] * 2, 60, 3, None),
        ([MlflowException("no", INVALID_PARAMETER_VALUE)], 60, 1, MlflowException),
    ],
    ids=["away too long", "back in time", "refused"],
)
def test_how_often_a_call_is_repeated(
    failures: list[Exception], seconds: float, calls: int, raised: type[Exception] | None
) -> None:
    answers: list[int] = []

    def ask() -> int:
        answers.append(len(answers))
        if len(answers) <= len(failures):
            raise failures[len(answers) - 1]
        return 7

    if raised is None:
        assert with_retries(ask, "test", seconds) == 7
    else:
        with pytest.raises(raised):
            with_retries(ask, "test", seconds)
    assert len(answers) == calls


@pytest.mark.parametrize(("code", "kind"), [(TEMPORARILY_UNAVAILABLE, MlflowException), (BAD_REQUEST, InputError)])
def test_no_answer_is_told_from_a_no(monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]) -> None:
    monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "0")

    def ask() -> None:
        raise MlflowException("so it is", code)

    with pytest.raises(kind, match="so it is") as caught:
        look_up(ask, "test", lambda why: f"there is none ({why})")
    assert ("there is none" in str(caught.value)) is (kind is InputError)


def test_reasons_are_one_line() -> None:
    assert reason(ValueError("a\n  b")) == "ValueError: a b"
    assert reason(InputError("bad")) == "bad"
    assert reason(ValueError()) == "ValueError: no message"
    assert len(reason(ValueError("x" * 2000))) == 500


def test_a_store_that_is_made_in_the_current_folder_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    connect()
    made = f"note: Creating the tracking store {tmp_path / 'mlflow.db'}. Set MLFLOW_TRACKING_URI to use another one.\n"
    assert made in capsys.readouterr().err
    connect()
    assert "new store" not in capsys.readouterr().err
