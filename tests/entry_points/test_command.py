"""Exit status and last words of a program, and of the run that was opened for it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)

from entry_points.__main__ import main
from entry_points.command import command, status
from entry_points.commands import find_command
from rsc_mlflow.errors import InputError
from rsc_mlflow.fields import Options, integer, option

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Number(Options):
    """One option."""

    number: int = option("A number, whatever it is.", integer(0), 7)


def raising(error: BaseException) -> Callable[[Number], None]:
    def run(_: Number) -> None:
        raise error

    return run


@pytest.fixture
def adopted(sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Id of a run that was opened for this process, as by ``mlflow run``."""
    run_id = str(MlflowClient(sqlite_store).create_run("0").info.run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    return run_id


def ending(run_id: str) -> tuple[str, str]:
    run = MlflowClient().get_run(run_id)
    return run.info.status, run.data.tags["rsc.error"]


def test_the_status_is_what_the_function_returns_and_help_is_none_of_its_business(
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = command("entry", Number, lambda options: options.number)
    assert status(entry, []) == 7
    assert status(entry, ["--number", "0"]) == 0
    assert status(entry, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: python -m entry_points entry [OPTIONS]")
    assert "A number, whatever it is." in shown
    assert status(entry, ["-h"], "python -m results") == 0
    assert capsys.readouterr().out.startswith("Usage: python -m results [OPTIONS]")


def test_the_program_itself_shows_its_commands_and_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in (("", "Usage: rsc COMMAND"), ("-h", "Usage: rsc COMMAND"), ("--version", "rsc-mlflow 0.1.0")):
        with pytest.raises(SystemExit) as ended:
            main(words.split())
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(shown)


@pytest.mark.parametrize(
    ("typed", "meant"), [("trian", "train_classifier"), ("influence", "group_influence"), ("sweeps", "sweep")]
)
def test_a_command_is_suggested_by_a_word_of_its_name(typed: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"Unknown command '{typed}'. Did you mean '{meant}'"):
        find_command(typed)


@pytest.mark.parametrize("words", [["-m", "entry_points"], ["-m", "results", "show", "scores"]])
def test_output_that_nobody_reads_ends_the_command_without_a_traceback(words: list[str]) -> None:
    """As with ``… | head`` once ``head`` has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *words], check=False, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_option_that_follows_from_the_method_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["--attacks", "lira"], ["--attacks=lira"]):
        assert status(find_command("attack"), ["--method", "loss", *given]) == 2
        assert capsys.readouterr().err == "error: Option 'attacks' follows from method=loss. Leave it out.\n"


def test_bad_input_is_status_2_and_the_reason_of_the_adopted_run(
    adopted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(command("entry", Number, raising(InputError("no\nsuch thing"))), []) == 2
    assert capsys.readouterr().err == "error: no such thing\n"
    assert ending(adopted) == ("FAILED", "no such thing")


@pytest.mark.parametrize("error", [EOFError("file ended early"), RuntimeError("no luck")])
def test_a_failure_keeps_its_traceback_and_is_the_reason_of_the_adopted_run(adopted: str, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        status(command("entry", Number, raising(error)), [])
    assert ending(adopted) == ("FAILED", f"{type(error).__name__}: {error}")


def _answered(status_code: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status_code
    return requests.HTTPError("no", response=answer)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MlflowException("not yours", PERMISSION_DENIED), "does not permit this (not yours). Set MLFLOW_"),
        (MlflowException("run is deleted", INVALID_PARAMETER_VALUE), "refused a request (run is deleted). Check"),
        (MlflowException("who", UNAUTHENTICATED), "refused the log-in (who). Set MLFLOW_TRACKING_USERNAME and"),
        (_answered(403), "does not permit this"),
        (_answered(401), "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        (_answered(413), "refused a request"),
    ],
)
def test_a_refusal_of_the_store_is_bad_input(
    error: Exception, line: str, adopted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(command("entry", Number, raising(error)), []) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: The tracking s")
    assert line in said
    assert ending(adopted) == ("FAILED", said.removeprefix("error: "))


@pytest.mark.parametrize("error", [MlflowException("broken"), MlflowException("soon", TEMPORARILY_UNAVAILABLE)])
def test_a_store_that_is_away_is_a_failure(error: Exception) -> None:
    with pytest.raises(MlflowException):
        status(command("entry", Number, raising(error)), [])


def test_an_interrupt_is_status_1(adopted: str) -> None:
    assert status(command("entry", Number, raising(KeyboardInterrupt())), []) == 1
    assert ending(adopted) == ("FAILED", "interrupted")


@pytest.mark.parametrize(
    ("name", "words", "kind"),
    [
        ("train_classifier", ["--dataset", "digits", "--epochs", "abc"], "train"),
        ("group_influence", ["--dataset", "digitsv3-3-0-0", "--damping", "0"], "unlearn"),
        ("unlearn", ["--method", "nonsense"], "unlearn"),
    ],
)
def test_a_run_that_never_began_says_what_it_was_for(name: str, words: list[str], kind: str, adopted: str) -> None:
    assert status(find_command(name), words) == 2
    tags = MlflowClient().get_run(adopted).data.tags
    assert (tags["rsc.kind"], tags["rsc.method"]) == (kind, name)
    assert ending(adopted) == ("FAILED", tags["rsc.error"])
    assert words[-1] in tags["rsc.error"]
