"""``rsc disk`` against the sizes of the files themselves."""

import re
from pathlib import Path

import pytest

from entry_points.command import status
from entry_points.commands import find_command
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members


def megabytes(files: list[Path]) -> str:
    return f"{sum(file.stat().st_size for file in files) / 1e6:,.1f}"


@pytest.mark.usefixtures("sqlite_store")
def test_the_sizes_are_those_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"dataset": "digits", "model": "ce-tor-MLP", "epochs": "2", "checkpoint_every": "1"}
    result = train_members([TrainingJob(TrainOptions.from_mapping(given))])[0]
    capsys.readouterr()
    assert status(find_command("disk"), ["--experiments", "rsc"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if result.run_id in line]
    checkpoints = list(tmp_path.rglob("checkpoints/*.pt"))
    models = [file for file in tmp_path.rglob("models/*/artifacts/**/*") if file.is_file()]
    everything = [file for file in (tmp_path / "mlruns").rglob("*") if file.is_file()]
    others = [file for file in everything if file not in checkpoints and file not in models]
    assert len(checkpoints) == 2
    assert models
    shown = re.findall(r"[\d,]+\.\d", row)
    assert shown == [megabytes(files) for files in (checkpoints, models, others, everything)]


@pytest.mark.usefixtures("sqlite_store")
def test_an_unknown_experiment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(find_command("disk"), ["--experiments", "nonsense"]) == 2
    assert "Unknown experiment 'nonsense'. Expected one of: all, Default." in capsys.readouterr().err
