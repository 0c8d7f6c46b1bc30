"""Messages of a command while it works: records of the logger ``rsc_mlflow``, shown on standard error.

Python callers see warnings only, as from any library, unless they call :func:`show` or configure the logger themselves.
"""

import logging
import sys

LOGGER = logging.getLogger("rsc_mlflow")


class _StandardError(logging.Handler):
    """Writes to what is standard error at the moment: workers of a sweep and tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


_HANDLER = _StandardError()


def show() -> None:
    """Show the messages of this process on standard error; calling it again changes nothing."""
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(_HANDLER)


def say(text: str) -> None:
    """A step that is done, or a result."""
    LOGGER.info("%s", text)


def note(text: str) -> None:
    """What the user must know to read a result, or to get a better one."""
    LOGGER.warning("note: %s", text)
