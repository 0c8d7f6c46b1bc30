"""Failures of a sweep's jobs: excerpts of their logs, and the artifact ``failures.json`` of the sweep's run."""

import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsc_mlflow.tracking.store import reason, redact_passwords

if TYPE_CHECKING:
    from rsc_mlflow.sweeps.plan import Plan

LINES = 40
CHARACTERS = 6000
"""Maximum number of lines and of characters of an excerpt."""
EXCERPTS = 100
"""Maximum number of excerpts in ``failures.json``, one per reason."""
LONGEST_REASON = 160
_WHILE_HANDLING = "During handling of the above exception, another exception occurred:\n"
_CHANGING = re.compile(r"(/[\w.~-]+){2,}|0x[0-9a-f]+|[0-9a-f]{12,}|\d+(\.\d+)?([eE][+-]?\d+)?")


def general_reason(error: object) -> str:
    """Return the first line of an error without numbers, ids and paths, so that equal failures can be counted."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return _CHANGING.sub("…", line)[:LONGEST_REASON] or "no reason recorded (the process ended without a message)"


def excerpt(text: str) -> str:
    """Return the last lines of a log, at most :data:`LINES` and :data:`CHARACTERS`.

    Passwords in URLs are replaced by ``***`` and the home folder by ``~``.
    """
    private = redact_passwords(text).replace(f"{Path.home()}/", "~/")
    return "\n".join(private.rstrip().splitlines()[-LINES:])[-CHARACTERS:]


def traceback_of(error: BaseException | None) -> str:
    """Return an excerpt of an error's traceback, empty without an error.

    It contains the error's causes, among them the traceback of another process.  It leaves out errors that were being
    handled at the time: when a cohort has failed, its other members are trained while its error is being handled.
    """
    if error is None:
        return ""
    text = "".join(traceback.format_exception(error)).rpartition(_WHILE_HANDLING)[2]
    return excerpt("\n".join(line for line in text.strip().splitlines() if line.strip(" ^~")))


def end_of(log: Path) -> str:
    """Return an excerpt of a log file, empty if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 4 * CHARACTERS, 0))
            return excerpt(file.read().decode(errors="replace"))
    except OSError:
        return ""


def explanation(what: str, error: BaseException, cause: BaseException | None = None) -> tuple[str, str]:
    """Return the reason and the log of a unit whose process raised an error.

    Args:
        what: what failed.
        error: the error, with its traceback.
        cause: the error to name instead of ``error``.
    """
    return f"{what} ({reason(cause or error)})", traceback_of(error)


def failure_list(plan: "Plan", failed: Mapping[str, str], logs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the content of ``failures.json``: fingerprint, job, reason, options and log of each failed job.

    Only the first job of each reason has a log (see :func:`general_reason`), because the others' logs are alike.

    Args:
        plan: the jobs.
        failed: reason of each failed job by fingerprint.
        logs: excerpts by fingerprint.
    """
    kept: dict[str, str] = {}
    for key, why in failed.items():
        if logs.get(key) and len(kept) < EXCERPTS:
            kept.setdefault(general_reason(why), key)
    shown = set(kept.values())
    return [
        {
            "fingerprint": key,
            "job": plan.jobs[key].description,
            "reason": why,
            "options": plan.jobs[key].options.as_params(),
        }
        | ({"log": logs[key]} if key in shown else {})
        for key, why in failed.items()
    ]
