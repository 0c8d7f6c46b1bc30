"""What a person sees while models train, on a terminal and in a log."""

import pytest

from rsc_mlflow.experiments.progress import TrainingProgress


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    with TrainingProgress("a run", 40) as progress:
        for epoch in range(1, 41):
            values = {"train loss": 1 / epoch, "test accuracy": 0.5, "score": 0.25 if epoch > 20 else None}
            progress.update(epoch, values)
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_a_log_gets_ten_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    lines = shown(capsys).splitlines()
    assert len(lines) == 10
    assert lines[0] == "a run: epoch 4/40  train loss 0.2500  test accuracy 0.5000"
    assert lines[-1] == "a run: epoch 40/40  train loss 0.0250  test accuracy 0.5000  score 0.250"


def test_a_terminal_gets_a_bar_and_no_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    text = shown(capsys)
    assert "40/40" in text
    assert "a run: epoch" not in text
