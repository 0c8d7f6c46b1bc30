"""What a stranger may type or store: it reaches no shell, no interpreter, and no folder but its own."""

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import mlflow.cli
import mlflow.projects
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException
from mlflow.projects._project_spec import load_project

import dashboards.__main__
from entry_points.command import status
from entry_points.commands import entry_point, programs
from entry_points.local import ServeOptions
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.filters import matching
from rsc_mlflow.tracking.run import open_run
from tests.integration.processes import ROOT, finish, newest_run, start

PROGRAMS = programs(generic=False)

pytestmark = pytest.mark.integration
HOSTILE = (
    "; touch owned; #",
    "$(touch owned)",
    "`touch owned`",
    "' ; touch owned ; '",
    '" ; touch owned ; "',
    "a\ntouch owned\n",
    "| touch owned",
    "&& touch owned &",
    "> owned",
    "${IFS}touch${IFS}owned",
    "{dataset}$(touch owned)",
    "\\'; touch owned; \\'",
    "ünïcödé ‘$(touch owned)’ 数据 \u202e",
    "--register=false $(touch owned)",
)
"""Each makes a file ``owned`` if a shell ever reads it as more than one word."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_value_of_any_option_reaches_a_shell(name: str, tmp_path: Path) -> None:
    """The command as MLflow itself builds it, run by the shell that MLflow uses, with a ``python`` that only tells."""
    teller = tmp_path / "bin" / "python"
    teller.parent.mkdir()
    teller.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    teller.chmod(0o755)
    here = tmp_path / "here"
    here.mkdir()
    project = load_project(str(ROOT)).get_entry_point(name)
    options = list(project.parameters)
    for value in HOSTILE:
        command = project.compute_command(dict.fromkeys(options, value), None)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=here,
            env={"PATH": f"{teller.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        words = done.stdout.split("\0")[:-1]
        assert words[:2] == ["-m", f"entry_points.{name}"]
        assert words[2:] == [word for option in options for word in (f"--{option}", value)]
        assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dataset": "$(touch owned)", "model": "; touch owned; #"}, "$(touch owned)"),
        ({"dataset": "digits", "nonsense": "'\n`touch owned`\n\"ü"}, "No such option"),
    ],
)
def test_mlflow_run_with_hostile_values_fails_and_says_why(
    parameters: dict[str, str],
    message: str,
    sqlite_store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with pytest.raises(ExecutionException):
        mlflow.projects.run(str(ROOT), "train_classifier", parameters=parameters, env_manager="local")
    assert "error: " in capfd.readouterr().err
    run = newest_run(MlflowClient(sqlite_store))
    assert run is not None
    assert run.info.status == "FAILED"
    assert message in run.data.tags[schema.ERROR]
    assert not list(tmp_path.rglob("owned"))
    assert not list(ROOT.glob("owned"))


def test_bad_input_ends_the_process_itself_with_status_2_and_one_line(sqlite_store: str, tmp_path: Path) -> None:
    exit_status, errors = finish(start("train_classifier", sqlite_store, dataset="$(touch owned)\nü"))
    (line,) = errors.splitlines()
    assert exit_status == 2
    assert line.startswith("error: ")
    assert "$(touch owned)" in line
    assert newest_run(MlflowClient(sqlite_store)) is None
    assert not list(tmp_path.rglob("owned"))


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_with_a_payload_is_refused_by_the_program_itself(
    sqlite_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "digits", "--model", "ce-tor-MLP", "--epochs", "1"]
    assert status(entry_point("train_classifier"), words) == 0
    client = MlflowClient()
    run = newest_run(client)
    assert run is not None
    client.set_terminated(run.info.run_id, "FAILED")
    (file,) = (Path(run.info.artifact_uri.removeprefix("file://")) / schema.CHECKPOINTS).iterdir()
    file.write_bytes(pickle.dumps(_Payload(tmp_path / "owned")))
    assert status(entry_point("train_classifier"), [*words, "--resume_run_id", run.info.run_id]) == 2
    assert "Cannot read the checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("path", ["../outside.txt", "figures/../../outside.txt", "a/../../../b.txt"])
def test_an_artifact_cannot_leave_its_runs_folder(path: str, sqlite_store: str, tmp_path: Path) -> None:
    before = {file for file in tmp_path.rglob("*") if "mlruns" not in file.parts}
    with pytest.raises(InputError, match="Invalid artifact folder"), open_run(kind="train", name="../../x") as run:
        run.log_text("x", path)
    assert {file for file in tmp_path.rglob("*") if "mlruns" not in file.parts} == before


FRAME = pd.DataFrame({"run_id": ["a"], "status": ["FINISHED"], "params.x": ["1"], "metrics.m": [0.5], "tags.t": ["u"]})
FIELDS = st.sampled_from(["params.x", "metrics.m", "tags.`t`", "attributes.status", "@x", "`", "__import__('os')"])
SIGNS = st.sampled_from(["=", "!=", "<", "LIKE", "IN", "OR", ";", "--", "/**/"])
VALUES = st.sampled_from(["'1'", '"1"', "0.5", "('a')", "AND", "DROP TABLE runs", "__import__('os').mkdir('owned')"])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20) | st.lists(FIELDS | SIGNS | VALUES, max_size=7).map(" ".join))
def test_a_filter_filters_or_is_refused(text: str) -> None:
    before = FRAME.copy()
    try:
        kept = matching(FRAME, text)
    except InputError:
        kept = pd.Series([True])
    assert kept.dtype == bool
    assert len(kept) == 1
    pd.testing.assert_frame_equal(FRAME, before)
    assert not Path("owned").exists()


def test_servers_listen_on_loopback_unless_told_otherwise() -> None:
    (own,) = (field for field in dataclasses.fields(ServeOptions) if field.name == "host")
    assert own.default == "127.0.0.1"
    for command in (mlflow.cli.server, dashboards.__main__.main):
        (host,) = (parameter for parameter in command.params if parameter.name == "host")
        assert host.get_default(command.make_context("x", ["--tracking_uri", "sqlite://"], resilient_parsing=True)) == (
            "127.0.0.1"
        )
