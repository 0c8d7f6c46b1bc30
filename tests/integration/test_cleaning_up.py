"""The section "Cleaning up" of docs/operations.md, executed as printed: what goes, what stays, and a moved store."""

import re
import shlex
import shutil
from pathlib import Path

import mlflow
import mlflow.cli
import pytest
from mlflow import MlflowClient

from entry_points.command import status
from entry_points.commands import find_command
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.tracking.pull import pull

pytestmark = pytest.mark.integration
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SECTION = re.findall(r"^## Cleaning up\n(.*?)^## ", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def execute(kind: str, text: str, names: dict[str, str]) -> None:
    """One block of the page with real names in it."""
    for name, value in names.items():
        text = text.replace(name, value)
    if kind == "python":
        exec(compile(text, str(PAGE), "exec"), {})
        return
    for line in text.splitlines():
        program, *words = shlex.split(line, comments=True)
        if program == "rsc":
            assert status(find_command(words[0]), words[1:]) == 0
        else:
            assert program == "mlflow"
            mlflow.cli.cli.main(words, standalone_mode=False)


def test_the_section(sqlite_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"model": "ce-tor-MLP", "epochs": "1"}
    datasets = ("digits", "digitsv3-3-0-0")
    jobs = [TrainingJob(TrainOptions.from_mapping({"dataset": name, **given})) for name in datasets]
    gone, kept = (train_members([job])[0] for job in jobs)
    old, new = tmp_path, tmp_path.parent / f"{tmp_path.name}-moved"
    names = {"RUN_ID": gone.run_id, "OLD_FOLDER": str(old), "NEW_FOLDER": str(new)}
    for kind, text in BLOCKS[:-1]:
        execute(kind, text, names)
    assert f"{gone.run_id}" in capsys.readouterr().out
    files = [str(file) for file in tmp_path.rglob("*")]
    model = gone.model_uri.removeprefix("models:/")
    assert not [file for file in files if f"/{gone.run_id}/" in file or f"/{model}/" in file]
    assert [version.run_id for version in MlflowClient().search_model_versions()] == [kept.run_id]
    shutil.copytree(old, new)
    kind, text = BLOCKS[-1]
    execute(kind, text, names)
    shutil.rmtree(old / "mlruns")
    mlflow.set_tracking_uri(f"sqlite:///{new / 'mlflow.db'}")
    assert pull("models:/rsc-digits-MLP@digitsv3-3-0-0").run_id == kept.run_id
    assert [item.path for item in MlflowClient().list_artifacts(kept.run_id, "checkpoints")]
