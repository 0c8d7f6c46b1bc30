"""Messages: answers go to standard output; progress, notes and errors go to standard error.

An answer is the result that a command was run for, such as a table.  :func:`answer` prints it.  Everything else is
logged with :mod:`logging`: progress as INFO, notes as WARNING, failures as ERROR.  Importing the package adds a handler
that prints these records, as MLflow does for its own.  ``logging.getLogger("rsc_mlflow").setLevel("WARNING")`` hides
progress.
"""

import logging
import sys

PREFIXES = {logging.WARNING: "note: "}
"""Level → text before the message.  Failures have none: commands print ``error:`` only before they exit."""


def answer(text: object) -> None:
    """Print an answer, or a part of it, on standard output."""
    print(text, flush=True)


class _Formatter(logging.Formatter):
    """Formats a record as its message, with a prefix that depends on its level."""

    def format(self, record: logging.LogRecord) -> str:
        return PREFIXES.get(record.levelno, "") + super().format(record)


class _StandardErrorHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes records to the current ``sys.stderr``, which workers and tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def print_log() -> None:
    """Print the records of this project's loggers on standard error from now on, but not those of other packages."""
    handler = _StandardErrorHandler()
    handler.setFormatter(_Formatter())
    for name in ("rsc_mlflow", "dashboards"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
