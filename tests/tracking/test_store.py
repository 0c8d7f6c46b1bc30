import datetime
import http.server
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
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
    _probe,
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


def test_a_store_that_answers(sqlite_store: str) -> None:
    assert connect().tracking_uri == sqlite_store


def test_no_server_is_said_within_seconds() -> None:
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(InputError, match=r"no server answers at http://127.0.0.1:\d+; start the server"):
        connect()
    assert time.monotonic() - started < 5


def test_a_server_that_does_not_answer_is_said_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PROBE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts; nobody reads
        mlflow.set_tracking_uri(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(InputError, match=r"the server at http://127\.0\.0\.1:\d+ gave no answer within 0\.5 s"):
            connect()


def test_a_database_in_memory_is_always_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address in ("sqlite://", "sqlite:///:memory:"):
        _probe(address)
    assert list(tmp_path.iterdir()) == []


def test_another_server_is_not_taken_for_mlflow() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        mlflow.set_tracking_uri(f"http://127.0.0.1:{other.server_address[1]}")
        with pytest.raises(InputError, match="does not answer"):
            connect()
        other.shutdown()


@pytest.mark.parametrize("name", ["RSC_RETRY_TIMEOUT_SECONDS", "RSC_PATIENCE_SECONDS"])
def test_the_retry_timeout_is_a_number_under_its_former_name_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("soon", "-1", "nan", "inf", ""):
        monkeypatch.setenv(name, text)
        with pytest.raises(InputError, match=f"Invalid value for '{name}'"):
            connect()
    monkeypatch.setenv(name, "7.5")
    assert retry_timeout() == 7.5


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


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of an HTTPS server, which is no MLflow, and the certificate that it has made itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(hours=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False).sign(
        key, hashes.SHA256()
    )
    file = tmp_path / "server.pem"
    encoding = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(encoding, *plain) + certificate.public_bytes(encoding))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    with socketserver.TCPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_address[1]}", file
        server.shutdown()


def test_a_certificate_that_mlflow_was_told_to_trust_is_trusted(
    tls_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, certificate = tls_server
    with pytest.raises(requests.exceptions.SSLError, match="self-signed"):
        _probe(address)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    _probe(address)
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    mlflow.set_tracking_uri(address)
    with pytest.raises(StoreError, match=r"does not answer \(SSLError: .*self-signed"):
        connect()


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


def test_retries_end() -> None:
    calls = []

    def away() -> None:
        calls.append(1)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        with_retries(away, "test", seconds=0.6)
    assert len(calls) == 2


@pytest.mark.parametrize(("code", "kind"), [(TEMPORARILY_UNAVAILABLE, MlflowException), (BAD_REQUEST, InputError)])
def test_no_answer_is_told_from_a_no(monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]) -> None:
    monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "0")

    def ask() -> None:
        raise MlflowException("so it is", code)

    with pytest.raises(kind, match="so it is") as caught:
        look_up(ask, "test", lambda why: f"there is none ({why})")
    assert ("there is none" in str(caught.value)) is (kind is InputError)


def test_a_refusal_is_not_repeated() -> None:
    calls = []

    def refused() -> None:
        calls.append(1)
        raise MlflowException("no", INVALID_PARAMETER_VALUE)

    with pytest.raises(MlflowException):
        with_retries(refused, "test", seconds=5)
    assert len(calls) == 1


def test_an_answer_after_a_pause() -> None:
    calls: list[int] = []

    def third_time() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionResetError
        return 7

    assert with_retries(third_time, "test", seconds=5) == 7


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
    made = f"note: {tmp_path / 'mlflow.db'} is made as a new store; set MLFLOW_TRACKING_URI to use another one\n"
    assert made in capsys.readouterr().err
    connect()
    assert "new store" not in capsys.readouterr().err
