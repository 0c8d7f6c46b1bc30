"""Reaching the tracking store: an unreachable one is reported at once at the start, and waited for later.

MLflow's client repeats a single HTTP request for a few seconds.  Waiting for a server that restarts is done here,
because it must stop on a signal (:mod:`rsc_mlflow.cancellation`) and tell a store that is away from one that said no.
"""

import logging
import math
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

import mlflow
import requests
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow import cancellation, tempdirs
from rsc_mlflow.errors import InputError, invalid_value
from rsc_mlflow.tracking import databases, mlflow_compat

RETRY_TIMEOUT_VARIABLE = "RSC_RETRY_TIMEOUT_SECONDS"
"""For how long a call that must succeed is repeated while the store is away (default 120)."""
_FORMER_VARIABLE = "RSC_PATIENCE_SECONDS"  # still read

_PROBE_SECONDS = 10.0
"""How long a server may take to say that it is there."""
_PERMANENT = ("FEATURE_DISABLED", "INVALID_STATE", "INVALID_STATE_TRANSITION", "MALFORMED_REQUEST", "NOT_IMPLEMENTED")
"""Error codes to which MLflow assigns a status of the server's own failures, or none."""
_TRANSIENT_STATUS = (408, 425, 429)  # too slow, too early, too often
_TRANSIENT_TEXTS = (  # what MLflow calls a bad request and is none
    "QueuePool limit",  # all of the server's database connections were taken
    "UNIQUE constraint failed",  # two clients wrote the same new row at once (SQLite); asked again, each sees it
    "duplicate key value",  # the same on PostgreSQL
)
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]+@")
_WAYS_OUT = "start the server (mlflow server) or set MLFLOW_TRACKING_URI, for example to sqlite:///mlflow.db"
_LOG_IN_HELP = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to a user's own"
OWN_EXPERIMENT = "set MLFLOW_EXPERIMENT_NAME to an experiment of your own, or ask the owner for EDIT permission"
"""What helps a user who may not write to an experiment."""
_logger = logging.getLogger(__name__)
_store_is_named: Callable[[], bool] = mlflow.is_tracking_uri_set  # it carries no types

_have_answered: set[str] = set()  # stores that this process has reached

Result = TypeVar("Result")


class StoreError(InputError):
    """The tracking store cannot be reached or written: a wrong address, or a store that is away."""


class _AwayError(StoreError):
    """The store does not answer now; it may later."""


def retry_timeout() -> float:
    """Seconds for which a call is repeated while the store is away (``RSC_RETRY_TIMEOUT_SECONDS``, default 120).

    Raises:
        InputError: the variable holds no number of seconds.
    """
    names = (RETRY_TIMEOUT_VARIABLE, _FORMER_VARIABLE)
    name = next((name for name in names if name in os.environ), RETRY_TIMEOUT_VARIABLE)
    text = os.environ.get(name, "120")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise invalid_value(name, text, "a number of seconds ≥ 0")
    return seconds


def configure() -> None:
    """Choose MLflow settings that a tracked run depends on, unless the user set them.

    An HTTP request that is not answered gives up after one minute, not after six (:func:`with_retries` repeats it);
    no progress bars, migration logs and stack traces of repeated attempts appear between our own lines.
    """
    for name, value in (
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "60"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"),
        ("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("GIT_PYTHON_REFRESH", "quiet"),
    ):
        os.environ.setdefault(name, value)
    if (uri := mlflow.get_tracking_uri()) != (better := databases.without_stray_folder(uri)):
        mlflow.set_tracking_uri(better)
    for name in mlflow_compat.NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def connect(*, known: bool = False) -> MlflowClient:
    """A client of the current tracking store, which has answered in this process.

    The first call asks the store.  If it does not answer, its address counts as a wrong one and the error is raised
    at once; a store that has answered the process that sent us (``known``) is waited for, as in :func:`with_retries`.

    Raises:
        StoreError: the store cannot be reached or written; says what was tried and the ways out.
    """
    configure()
    uri = mlflow.get_tracking_uri()
    seconds = retry_timeout()  # a bad value is refused now, not when the store first stumbles
    if uri not in _have_answered:
        if not _store_is_named() and uri.startswith("sqlite") and not databases.exists(uri):
            where = databases.sqlite_file(uri)
            _logger.warning("%s is made as a new store; set MLFLOW_TRACKING_URI to use another one", where)
        with_retries(lambda: _ask(uri), "connecting", seconds if known else 0.0)
        _have_answered.add(uri)
    return MlflowClient(uri)


def _ask(uri: str) -> None:
    """Find out within seconds whether the store is there; MLflow itself tries for minutes."""
    try:
        if uri.startswith(("http:", "https:")):
            _probe_server(uri)
        elif databases.is_database(uri) and (why := databases.trouble(uri)):
            raise _AwayError(f"the tracking store {redact_passwords(uri)} {why}; or {_WAYS_OUT}")
        MlflowClient(uri).search_experiments(max_results=1)
    except StoreError:
        raise
    except Exception as error:
        if denied := _denied(error):
            raise StoreError(denied) from error
        message = f"the tracking store {redact_passwords(uri)} does not answer ({reason(error)}); {_WAYS_OUT}"
        raise _AwayError(message) from error


def _probe_server(uri: str) -> None:
    creds = mlflow_compat.host_creds(uri)  # MLflow's settings for a server with a certificate of its own
    health = uri.rstrip("/") + "/health"
    try:
        requests.get(health, timeout=_PROBE_SECONDS, verify=creds.verify, cert=creds.client_cert_path)
    except requests.exceptions.SSLError:
        raise  # it is there
    except (requests.ConnectionError, requests.Timeout):
        raise _AwayError(f"no server answers at {redact_passwords(uri)}; {_WAYS_OUT}") from None


def reading_client(uri: str) -> MlflowClient:
    """A client for reading only, whose first call finds out whether the store answers.

    Raises:
        StoreError: the store is a database whose tables are those of another version of MLflow.
    """
    if databases.exists(uri) and (why := databases.foreign_schema(uri)):
        raise StoreError(f"the tracking store {redact_passwords(uri)} {why}")
    return MlflowClient(databases.without_stray_folder(uri))


def redact_passwords(text: str) -> str:
    """A text without the passwords of the addresses in it."""
    return _PASSWORD.sub(r"\1:***@", text)


def reason(error: BaseException) -> str:
    """An error in one line of at most 500 characters, without passwords."""
    if about_disk := tempdirs.disk_error(error):
        return about_disk
    text = redact_passwords(" ".join(str(error).split())) or "no message"
    line = text if isinstance(error, InputError | MlflowException) else f"{type(error).__name__}: {text}"
    return line if len(line) <= 500 else line[:499] + "…"


def is_transient(error: BaseException) -> bool:
    """Whether repeating the call may help: the store is away or busy, as opposed to having said no."""
    if (status := _status(error)) is None:
        return isinstance(error, OSError | requests.RequestException | sqlalchemy.exc.OperationalError | _AwayError)
    if isinstance(error, MlflowException):
        if isinstance(error.__cause__, sqlalchemy.exc.InterfaceError):
            return True
        if error.error_code in _PERMANENT:
            return False
        if error.error_code == "BAD_REQUEST" and any(text in str(error) for text in _TRANSIENT_TEXTS):
            return True
    return not 400 <= status < 500 or status in _TRANSIENT_STATUS


def _status(error: BaseException) -> int | None:
    """The HTTP status of an answer that is an error; None if there was no answer."""
    if isinstance(error, MlflowException):
        return mlflow_compat.http_status(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code
    return None


def refusal(error: BaseException) -> str | None:
    """What there is to say, in one line, about a store that said no for good; None for every other error."""
    if _status(error) is None or is_transient(error):
        return None
    about = f"the tracking store refused a request ({reason(error)})"
    return _denied(error) or f"{about}; check that run, experiment and model still exist"


def _denied(error: BaseException) -> str | None:
    """What there is to say about a user whom the server does not let in, or does not let do this; else None."""
    server, status = redact_passwords(mlflow.get_tracking_uri()), _status(error)
    if status == requests.codes.unauthorized:
        return f"the tracking server {server} refused the log-in ({reason(error)}); {_LOG_IN_HELP}"
    if status == requests.codes.forbidden:
        return f"the tracking server {server} does not permit this ({reason(error)}); {OWN_EXPERIMENT}"
    return None


def with_retries(call: Callable[[], Result], what: str, seconds: float | None = None) -> Result:
    """The result of ``call``, repeated while the store is away, for ``seconds`` (default: :func:`retry_timeout`).

    ``call`` must be harmless when it is carried out twice: the answer to the first may have been lost.

    Raises:
        Cancelled: a signal came and the store is away; a call under way is never interrupted.
    """
    deadline = time.monotonic() + (retry_timeout() if seconds is None else seconds)
    pause = 0.25
    while True:
        try:
            return call()
        except Exception as error:
            if not is_transient(error) or time.monotonic() + pause > deadline:
                raise
            if pause == 0.25:
                _logger.warning("%s: the tracking store is away, trying again (%s)", what, reason(error))
        cancellation.sleep(pause)
        pause = min(2 * pause, 5.0)


def look_up(call: Callable[[], Result], what: str, refusal: Callable[[str], str]) -> Result:
    """The answer to a question, asked :func:`with_retries`.

    Raises:
        InputError: the store says no; ``refusal`` makes the message of its reason.
        Exception: the store stayed away.
    """
    try:
        return with_retries(call, what)
    except MlflowException as error:
        if is_transient(error):
            raise
        raise InputError(refusal(reason(error))) from error


def remove_tag(client: MlflowClient, run_id: str, key: str) -> None:
    """Remove a tag from a run; it may be gone already, as after a lost answer."""
    try:
        with_retries(lambda: client.delete_tag(run_id, key), "tag")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
