"""What a run ran on is said on machines that lack something, too."""

import os
from pathlib import Path

import pytest
import torch

from rsc_mlflow.tracking import environment, mlflow_compat


def test_a_machine_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert len(environment._git("rev-parse", "HEAD")) == 40
    assert environment._git("no-such-command") == ""
    monkeypatch.setattr(environment, "_git", environment._git.__wrapped__)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment._git("rev-parse", "HEAD") == ""
    monkeypatch.setattr(mlflow_compat, "context_tags", lambda: {"mlflow.user": "me"})
    assert environment.source_tags() == {"mlflow.user": "me"}


def test_the_processor_is_the_one_that_linux_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some CPU @ 2.1 GHz: fast\n" * 2)
    monkeypatch.setattr(environment, "_CPUINFO", cpuinfo)
    assert environment._processor.__wrapped__() == f"{os.cpu_count()} × Some CPU @ 2.1 GHz: fast"
    cpuinfo.unlink()
    count, name = environment._processor.__wrapped__().split(" × ")
    assert count == str(os.cpu_count())
    assert name


def test_graphics_cards_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"card {number}")
    assert environment._gpu.__wrapped__() == "card 0, card 1"
