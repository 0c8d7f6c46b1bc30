"""Excerpts of the logs of failed jobs, and which of them a sweep keeps."""

import subprocess
import sys
from pathlib import Path

import pytest

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.sweeps import failures
from rsc_mlflow.sweeps.failures import end_of, excerpt, failure_list, general_reason, traceback_of
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.plan import Plan


def test_an_excerpt_is_the_end_of_a_log_without_passwords_and_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    text = "\n".join([*(f"line {n}" for n in range(100)), "in /home/ada/x.py", "at http://ada:secret@host/", "", ""])
    lines = excerpt(text).split("\n")
    assert lines == [*(f"line {n}" for n in range(62, 100)), "in ~/x.py", "at http://ada:***@host/"]
    assert excerpt("ä" * 10_000) == "ä" * failures.CHARACTERS


def test_a_traceback_has_its_causes_but_not_the_error_that_was_being_handled() -> None:
    def fail() -> None:
        try:
            raise KeyError("of another job")
        except KeyError:
            try:
                raise OSError("the disk")
            except OSError as error:
                raise ValueError("the job") from error

    with pytest.raises(ValueError, match="the job") as caught:
        fail()
    text = traceback_of(caught.value)
    assert text.endswith("ValueError: the job")
    assert "OSError: the disk" in text
    assert 'raise ValueError("the job") from error' in text
    assert "of another job" not in text
    assert "^^^" not in text
    assert traceback_of(None) == ""


def test_the_end_of_a_log_file_holds_what_a_killed_process_wrote(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    program = "import os, sys; print('x' * 50_000); print('the last line', flush=True); os.kill(os.getpid(), 9)"
    with log.open("w") as file:
        assert subprocess.run([sys.executable, "-c", program], check=False, stdout=file).returncode == -9
    assert end_of(log).endswith("x\nthe last line")
    assert len(end_of(log)) == failures.CHARACTERS
    assert end_of(tmp_path / "none.log") == ""


def test_each_reason_keeps_the_log_of_its_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job("train_classifier", TrainOptions(dataset="digitsv8-3-0-0", random_seed=seed)) for seed in range(5)]
    keys = [job.fingerprint for job in jobs]
    nothing: dict[str, frozenset[str]] = dict.fromkeys(keys, frozenset())
    plan = Plan(dict(zip(keys, jobs, strict=True)), nothing, nothing)
    reasons = ["nan at epoch 1", "nan at epoch 2", "disk full", "requires another job", "disk full"]
    logs = dict(zip(keys, ["", "log 1", "log 2", "", "log 4"], strict=True))
    listed = failure_list(plan, dict(zip(keys, reasons, strict=True)), logs)
    assert [one.get("log") for one in listed] == [None, "log 1", "log 2", None, None]
    assert [one["reason"] for one in listed] == reasons
    assert listed[3]["job"] == jobs[3].description
    assert listed[3]["options"]["random_seed"] == "3"
    monkeypatch.setattr(failures, "EXCERPTS", 1)
    assert sum("log" in one for one in failure_list(plan, dict(zip(keys, reasons, strict=True)), logs)) == 1


@pytest.mark.parametrize(
    ("error", "general"),
    [
        ("loss is nan at epoch 3\nmore", "loss is nan at epoch …"),
        ("no file /tmp/rsc-1x/tmpab/MLmodel: 3 of 4", "no file …: … of …"),
        ("no file 0x7f00 of run 0123456789abcdef, 1.5e-3", "no file … of run …, …"),
        ("", "no reason recorded (the process ended without a message)"),
    ],
)
def test_a_general_reason_has_no_numbers_and_ids(error: str, general: str) -> None:
    assert general_reason(error) == general
