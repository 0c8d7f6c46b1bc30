"""Connect to the tracking store, and retry calls during an outage.

If the store is unreachable at the start, the error is raised immediately.  MLflow's client retries a request for only a
few seconds.  This module waits for a server that restarts, stops waiting after a signal
(:mod:`rsc_mlflow.cancellation`), and does not retry a request that the store refused.
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
"""Environment variable with the retry timeout in seconds (default 120)."""
_FORMER_VARIABLE = "RSC_PATIENCE_SECONDS"  # still read

_PROBE_SECONDS = 10.0
"""Timeout of the health check of a server."""
_PERMANENT = ("FEATURE_DISABLED", "INVALID_STATE", "INVALID_STATE_TRANSITION", "MALFORMED_REQUEST", "NOT_IMPLEMENTED")
"""Refusals that MLflow reports with an HTTP status ≥ 500, or without one."""
_TRANSIENT_STATUS = (408, 425, 429)  # request timeout, too early, too many requests
_TRANSIENT_TEXTS = (  # MLflow reports these as bad requests
    "QueuePool limit",  # all database connections of the server are in use
    "UNIQUE constraint failed",  # two clients created the same row (SQLite); a retry succeeds
    "duplicate key value",  # the same on PostgreSQL
)
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]+@")
_WAYS_OUT = "Start the server (mlflow server) or set MLFLOW_TRACKING_URI, for example to sqlite:///mlflow.db."
_LOG_IN_HELP = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
OWN_EXPERIMENT = "Set MLFLOW_EXPERIMENT_NAME to an experiment of your own, or ask the owner for EDIT permission."
"""Advice for a user who may not write to an experiment."""
_logger = logging.getLogger(__name__)
_store_is_named: Callable[[], bool] = mlflow.is_tracking_uri_set  # has no type annotations

_have_answered: set[str] = set()  # addresses of stores that this process has reached

Result = TypeVar("Result")


class StoreError(InputError):
    """The tracking store cannot be reached or written: the address is wrong, or the store is unreachable."""


class _OutageError(StoreError):
    """The store does not answer, so a retry may help."""


def retry_timeout() -> float:
    """Return for how many seconds calls are retried during an outage (``RSC_RETRY_TIMEOUT_SECONDS``, default 120).

    Raises:
        InputError: the variable is not a number of seconds.
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
    """Set defaults for MLflow's environment variables, which the user's own values override.

    An HTTP request times out after one minute instead of six, because :func:`with_retries` repeats it.  MLflow's
    progress bars, migration logs and stack traces of retries are hidden.
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
    """Return a client of the current tracking store after checking that the store answers.

    The first call in a process sends a request.  If it fails, the address is assumed to be wrong, and the error is
    raised immediately.  With ``known``, the parent process has reached the store, so the request is retried.

    Raises:
        StoreError: the store cannot be reached or written.
    """
    configure()
    uri = mlflow.get_tracking_uri()
    seconds = retry_timeout()  # report an invalid value now, not during an outage
    if uri not in _have_answered:
        if not _store_is_named() and uri.startswith("sqlite") and not databases.exists(uri):
            where = databases.sqlite_file(uri)
            _logger.warning("Creating the tracking store %s. Set MLFLOW_TRACKING_URI to use another one.", where)
        with_retries(lambda: _ask(uri), "connecting", seconds if known else 0.0)
        _have_answered.add(uri)
    return MlflowClient(uri)


def _ask(uri: str) -> None:
    """Check within seconds that the store answers; MLflow would retry for minutes."""
    store = f"The tracking store {redact_passwords(uri)}"
    try:
        if uri.startswith(("http:", "https:")):
            _probe_server(uri)
        elif databases.is_database(uri) and (why := databases.trouble(uri)):
            raise _OutageError(f"{store} {why}. To use another store, set MLFLOW_TRACKING_URI.")
        MlflowClient(uri).search_experiments(max_results=1)
    except StoreError:
        raise
    except Exception as error:
        if denied := _denied(error):
            raise StoreError(denied) from error
        raise _OutageError(f"{store} does not answer ({reason(error)}). {_WAYS_OUT}") from error


def _probe_server(uri: str) -> None:
    creds = mlflow_compat.host_creds(uri)  # MLflow's settings for servers with their own certificate
    health = uri.rstrip("/") + "/health"
    try:
        requests.get(health, timeout=_PROBE_SECONDS, verify=creds.verify, cert=creds.client_cert_path)
    except requests.exceptions.SSLError:
        raise  # the server answers
    except (requests.ConnectionError, requests.Timeout):
        raise _OutageError(f"No server answers at {redact_passwords(uri)}. {_WAYS_OUT}") from None


def reading_client(uri: str) -> MlflowClient:
    """Return a client for reading, without checking that the store answers.

    Raises:
        StoreError: the store is a database with the tables of another version of MLflow.
    """
    if databases.exists(uri) and (why := databases.foreign_schema(uri)):
        raise StoreError(f"The tracking store {redact_passwords(uri)} {why}.")
    return MlflowClient(databases.without_stray_folder(uri))


def redact_passwords(text: str) -> str:
    """Replace the passwords in the URLs of a text by ``***``."""
    return _PASSWORD.sub(r"\1:***@", text)


def reason(error: BaseException) -> str:
    """Return the message of an error in one line of at most 500 characters, without passwords."""
    if about_disk := tempdirs.disk_error(error):
        return about_disk
    text = redact_passwords(" ".join(str(error).split())) or "no message"
    line = text if isinstance(error, InputError | MlflowException) else f"{type(error).__name__}: {text}"
    return line if len(line) <= 500 else line[:499] + "…"


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may help: the store is unreachable or busy, and did not refuse the request."""
    if (status := _status(error)) is None:
        return isinstance(error, OSError | requests.RequestException | sqlalchemy.exc.OperationalError | _OutageError)
    if isinstance(error, MlflowException):
        if isinstance(error.__cause__, sqlalchemy.exc.InterfaceError):
            return True
        if error.error_code in _PERMANENT:
            return False
        if error.error_code == "BAD_REQUEST" and any(text in str(error) for text in _TRANSIENT_TEXTS):
            return True
    return not 400 <= status < 500 or status in _TRANSIENT_STATUS


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error response; None if there was no response."""
    if isinstance(error, MlflowException):
        return mlflow_compat.http_status(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code
    return None


def refusal(error: BaseException) -> str | None:
    """Return a one-line message if the store refused a request, and a retry would not help; else None."""
    if _status(error) is None or is_transient(error):
        return None
    about = f"The tracking store refused a request ({reason(error)})"
    return _denied(error) or f"{about}. Check that the run, the experiment and the model still exist."


def _denied(error: BaseException) -> str | None:
    """Return a message if the server refused the log-in or a permission, else None."""
    server, status = redact_passwords(mlflow.get_tracking_uri()), _status(error)
    if status == requests.codes.unauthorized:
        return f"The tracking server {server} refused the log-in ({reason(error)}). {_LOG_IN_HELP}"
    if status == requests.codes.forbidden:
        return f"The tracking server {server} does not permit this ({reason(error)}). {OWN_EXPERIMENT}"
    return None


def with_retries(call: Callable[[], Result], what: str, seconds: float | None = None) -> Result:
    """Return the result of ``call``; on transient errors, retry for ``seconds`` (default: :func:`retry_timeout`).

    ``call`` must be idempotent, because the response to a request can be lost.

    Raises:
        Cancelled: a signal was received while waiting; a running call is not interrupted.
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
                _logger.warning("The tracking store is unreachable (%s: %s). Retrying.", what, reason(error))
        cancellation.sleep(pause)
        pause = min(2 * pause, 5.0)


def look_up(call: Callable[[], Result], what: str, refusal: Callable[[str], str]) -> Result:
    """Return the result of ``call``, with retries.

    Raises:
        InputError: the store refused the request; ``refusal`` turns the reason into the message.
        Exception: the store is still unreachable after the retry timeout.
    """
    try:
        return with_retries(call, what)
    except MlflowException as error:
        if is_transient(error):
            raise
        raise InputError(refusal(reason(error))) from error


def remove_tag(client: MlflowClient, run_id: str, key: str) -> None:
    """Remove a tag from a run, unless it is removed already, e.g. because a response was lost."""
    try:
        with_retries(lambda: client.delete_tag(run_id, key), "tag")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
