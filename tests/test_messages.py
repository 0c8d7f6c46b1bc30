"""What commands say: answers on standard output, everything else on standard error, with a prefix for its level."""

import ast
import contextlib
import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsc_mlflow.messages import answer

PROGRAM = """
import logging
import rsc_mlflow
from rsc_mlflow.messages import answer

{settings}
logger = logging.getLogger("rsc_mlflow.experiments.training")
logger.debug("a detail")
logger.info("epoch %d/%d", 1, 2)
logger.warning("not registered")
logger.error("2 jobs failed:\\n  100 % of them")
logging.getLogger("another.package").info("not ours")
answer("score 0.5")
"""


def texts_of_notes(source: str) -> Iterator[str]:
    """The texts of all calls of ``_logger.warning`` in a module, with ``%s`` for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="_logger"), attr="warning"), args=[text, *_]):
                if isinstance(text, ast.Constant):
                    yield str(text.value)
                elif isinstance(text, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "%s" for part in text.values)


def test_notes_are_whole_sentences() -> None:
    """They begin with a capital letter and end with a period, or with the message of an error, which has one."""
    root = Path(__file__).parents[1]
    files = [path for folder in ("rsc_mlflow", "dashboards", "entry_points") for path in (root / folder).rglob("*.py")]
    found = [text for path in files for text in texts_of_notes(path.read_text(encoding="utf-8"))]
    assert len(found) > 12
    assert [text for text in found if not text.endswith((".", "%s"))] == []
    assert [text for text in found if not (text[0].isupper() or text.startswith("%s"))] == []


def output(settings: str) -> tuple[str, str]:
    command = [sys.executable, "-c", PROGRAM.format(settings=settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_answers_and_messages_go_to_different_streams() -> None:
    messages = "epoch 1/2\nnote: not registered\n2 jobs failed:\n  100 % of them\n"
    assert output("") == ("score 0.5\n", messages)


def test_a_program_chooses_the_level_and_its_own_log_does_not_repeat_the_lines() -> None:
    hidden = "logging.basicConfig(); logging.getLogger('rsc_mlflow').setLevel('ERROR')"
    assert output(hidden) == ("score 0.5\n", "2 jobs failed:\n  100 % of them\n")


def test_messages_follow_a_standard_error_that_is_replaced_later(capsys: pytest.CaptureFixture[str]) -> None:
    log = io.StringIO()
    logger = logging.getLogger("rsc_mlflow.sweeps.worker")
    with contextlib.redirect_stderr(log):
        logger.info("in the worker's log")
    logger.info("in the terminal")
    answer(3)
    assert log.getvalue() == "in the worker's log\n"
    assert capsys.readouterr() == ("3\n", "in the terminal\n")


def test_an_exception_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ZeroDivisionError("nothing to divide by")
    except ZeroDivisionError:
        logging.getLogger("dashboards.panels").exception("panel scores")
    first, second, *_, last = capsys.readouterr().err.splitlines()
    assert (first, second) == ("panel scores", "Traceback (most recent call last):")
    assert last == "ZeroDivisionError: nothing to divide by"
