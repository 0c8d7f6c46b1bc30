"""Reaching the tracking store: fail at once at the start, be patient later, keep MLflow's chatter down."""

import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import mlflow
import requests
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds

from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import databases
from rsc_mlflow.tracking.signals import deferred, is_waiting

RETRY_TIMEOUT_VARIABLE = "RSC_RETRY_TIMEOUT_SECONDS"
"""How long a run waits for a store that went away, when it must write before it can end (default 120)."""
_OLD_RETRY_TIMEOUT_VARIABLE = "RSC_PATIENCE_SECONDS"  # the former name, still read

_LOG_IN = frozenset({"CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED"})
_PERMANENT = _LOG_IN | frozenset(
    {
        "ALREADY_EXISTS",
        "BAD_REQUEST",
        "ENDPOINT_NOT_FOUND",
        "FEATURE_DISABLED",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "INVALID_STATE_TRANSITION",
        "MALFORMED_REQUEST",
        "NOT_FOUND",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)
_HTTP_STATUS = re.compile(r"failed with error code (\d{3}) != \d{3}")
"""MLflow's words about an answer of somebody between it and us, a proxy above all."""
_PASSING = (  # what MLflow calls a bad request and is none
    "QueuePool limit",  # all of the server's database connections were taken
    "UNIQUE constraint failed",  # two clients wrote the same new row at once (SQLite); asked again, each sees it
    "duplicate key value",  # the same on PostgreSQL
)
_PASSING_STATUS = (408, 425, 429)  # HTTP's "too slow, too early, too often", among the refusals
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]+@")
_PROBE_SECONDS = 10.0
"""How long a server may take to say that it is there."""
_WAYS_OUT = "start the server (mlflow server) or set MLFLOW_TRACKING_URI, for example to sqlite:///mlflow.db"
_LOG_IN_HELP = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to a user's own"
OWN_EXPERIMENT = "set MLFLOW_EXPERIMENT_NAME to an experiment of your own, or ask the owner for EDIT permission"
"""What helps a user who may not write to an experiment."""
_host_creds: Callable[[str], Any] = get_default_host_creds  # it carries no types
_logger = logging.getLogger(__name__)

_have_answered: set[str] = set()  # stores that this process has reached
_brief = threading.RLock()
_last_away = -math.inf  # when this process last found a store away (monotonic clock)

Result = TypeVar("Result")


class StoreError(InputError):
    """The tracking store cannot be reached or written: a wrong address, or a store that is away."""


class _DeniedError(StoreError):
    """The server does not let this user in: asking again does not help."""


def retry_timeout() -> float:
    """Seconds for which a write is tried again (``RSC_RETRY_TIMEOUT_SECONDS``, default 120).

    Raises:
        InputError: the variable holds no number of seconds.
    """
    text = os.environ.get(RETRY_TIMEOUT_VARIABLE, os.environ.get(_OLD_RETRY_TIMEOUT_VARIABLE, "120"))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise InputError(f"{RETRY_TIMEOUT_VARIABLE} is {text!r}; accepted: a number of seconds, at least 0")
    return seconds


def configure() -> None:
    """Choose MLflow settings that a tracked run depends on, unless the user set them.

    Values too long for the store raise instead of being cut; one HTTP call gives up after seconds instead of
    minutes (:func:`with_retries` does the waiting, and training never waits for it); no progress bars, migration logs
    and stack traces of attempts that are repeated between our own lines.
    """
    for name, value in (
        ("MLFLOW_TRUNCATE_LONG_VALUES", "false"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"),
        ("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("GIT_PYTHON_REFRESH", "quiet"),
    ):
        os.environ.setdefault(name, value)
    if (uri := mlflow.get_tracking_uri()) != (better := databases.without_stray_folder(uri)):
        mlflow.set_tracking_uri(better)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def connect(*, known: bool = False) -> MlflowClient:
    """A client of the current tracking store, which has answered just now.

    The first time in a process a store that does not answer is a wrong address, and said at once; one that has
    answered before, here or (``known``) in the process that sent us, is waited for, for :func:`retry_timeout` seconds:
    hours of training may hang on the question.

    Raises:
        StoreError: the store cannot be reached or written; says what was tried and the ways out.
    """
    configure()
    uri = mlflow.get_tracking_uri()
    seconds = retry_timeout()  # a bad value is refused now, not when the store first stumbles
    deadline = time.monotonic() + (seconds if known or uri in _have_answered else 0.0)
    while True:
        try:
            with undivided():
                client = _client(uri)
            _have_answered.add(uri)
            return client
        except StoreError as error:
            if isinstance(error, _DeniedError) or time.monotonic() + 1.0 > deadline:
                raise
            record_outage()
            _logger.warning("waiting for the tracking store (%s)", error)
            time.sleep(1.0)


def _client(uri: str) -> MlflowClient:
    try:
        _probe(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except StoreError:
        raise
    except Exception as error:
        if denied := _denied(error):
            raise _DeniedError(denied) from error
        raise StoreError(
            f"the tracking store {redact_passwords(uri)} does not answer ({reason(error)}); {_WAYS_OUT}"
        ) from error
    return client


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
    if about_temporary := tempdirs.disk_error(error):
        return about_temporary
    text = redact_passwords(" ".join(str(error).split())) or "no message"
    name = type(error).__name__
    line = text if isinstance(error, InputError | MlflowException) else f"{name}: {text}"
    return line if len(line) <= 500 else line[:499] + "…"


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: the server is away or busy, as opposed to having said no."""
    if isinstance(error, MlflowException):
        if isinstance(error.__cause__, sqlalchemy.exc.InterfaceError):
            return True
        if error.error_code not in _PERMANENT:
            answered = _HTTP_STATUS.search(str(error))
            return answered is None or _may_pass(int(answered[1]))
        return error.error_code == "BAD_REQUEST" and any(word in str(error) for word in _PASSING)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _may_pass(error.response.status_code)
    return isinstance(error, OSError | requests.RequestException | sqlalchemy.exc.OperationalError)


def _may_pass(status: int) -> bool:
    return not 400 <= status < 500 or status in _PASSING_STATUS


def refusal(error: BaseException) -> str | None:
    """What there is to say, in one line, about a store that said no for good; None for every other error."""
    if not isinstance(error, MlflowException | requests.HTTPError) or is_transient(error):
        return None
    if denied := _denied(error):
        return denied
    return f"the tracking store refused a request ({reason(error)}); check that run, experiment and model still exist"


def _denied(error: BaseException) -> str | None:
    """What there is to say about a user whom the server does not let in, or does not let do this; else None."""
    code = error.error_code if isinstance(error, MlflowException) else ""
    status = error.response.status_code if isinstance(error, requests.HTTPError) and error.response is not None else 0
    server = redact_passwords(mlflow.get_tracking_uri())
    if code in _LOG_IN or status == 401:
        return f"the tracking server {server} refused the log-in ({reason(error)}); {_LOG_IN_HELP}"
    if code == "PERMISSION_DENIED" or status == 403:
        return f"the tracking server {server} does not permit this ({reason(error)}); {OWN_EXPERIMENT}"
    return None


def with_retries(call: Callable[[], Result], what: str, seconds: float | None = None) -> Result:
    """The result of ``call``, tried again while the store is away, for ``seconds`` (default: :func:`retry_timeout`).

    The caller answers for ``call`` being harmless when it is carried out twice.
    """
    deadline = time.monotonic() + (retry_timeout() if seconds is None else seconds)
    pause = 0.25
    while True:
        try:
            with undivided():
                return call()
        except Exception as error:
            if not is_transient(error) or is_waiting() or time.monotonic() + pause > deadline:
                raise
            record_outage()
            if pause == 0.25:
                _logger.warning("%s: the tracking store is away, trying again (%s)", what, reason(error))
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def undivided() -> AbstractContextManager[None]:
    """Within the block a signal waits for the end of a call to a database; one to a server may be broken off.

    A statement broken off in its middle keeps SQLite's file locked for as long as the exception is handled, so that
    the run could not be marked KILLED.
    """
    return nullcontext() if mlflow.get_tracking_uri().startswith("http") else deferred()


def record_outage() -> None:
    """Remember that the store was away just now."""
    global _last_away  # noqa: PLW0603 - an observation of the process
    _last_away = time.monotonic()


def recent_outage(within: float) -> bool:
    """Whether this process has found the store away in the last ``within`` seconds: nobody could write then."""
    return time.monotonic() - _last_away < within


def look_up(call: Callable[[], Result], what: str, refusal: Callable[[str], str]) -> Result:
    """The answer to a question, asked with_retries.

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
    """Take a tag off a run; where it is not there, as after a lost answer, all is well."""
    try:
        with_retries(lambda: client.delete_tag(run_id, key), "tag")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


@contextmanager
def brief(seconds: float) -> Iterator[None]:
    """Within the block an HTTP call gives up after ``seconds`` (at least one): a server may hang, not only be away.

    MLflow reads these settings at every call; other threads' calls are as brief meanwhile, and are tried again.
    """
    given = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, math.ceil(seconds))), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with _brief:
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _probe(uri: str) -> None:
    """Find out within seconds whether the store can be there at all; MLflow itself tries for up to a minute."""
    if uri.startswith(("http:", "https:")):
        _probe_server(uri)
    elif databases.is_database(uri) and (why := databases.trouble(uri)):
        raise StoreError(f"the tracking store {redact_passwords(uri)} {why}; or {_WAYS_OUT}")


def _probe_server(uri: str) -> None:
    creds = _host_creds(uri)  # MLflow's settings for a server with a certificate of its own
    health = uri.rstrip("/") + "/health"
    attempts = 0
    while True:
        try:
            requests.get(health, timeout=_PROBE_SECONDS, verify=creds.verify, cert=creds.client_cert_path)
            return
        except requests.Timeout:
            seconds = f"{_PROBE_SECONDS:g} s"
            raise StoreError(
                f"the server at {redact_passwords(uri)} gave no answer within {seconds}; {_WAYS_OUT}"
            ) from None
        except requests.exceptions.SSLError:
            raise  # it is there; asking again will not help
        except requests.ConnectionError:
            attempts += 1
            if attempts == 3:
                raise StoreError(f"no server answers at {redact_passwords(uri)}; {_WAYS_OUT}") from None
            time.sleep(0.5)
