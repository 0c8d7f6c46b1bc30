"""Every entry point takes the run that ``mlflow run`` opened for it, and leaves every other one as it is."""

import shutil
import sqlite3
import sys
from pathlib import Path

import mlflow.projects
import pytest
from mlflow import MlflowClient
from mlflow.projects._project_spec import load_project

from entry_points.command import status
from entry_points.commands import entry_point, find_command, programs
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.values import unquoted

PROGRAMS = programs()

ROOT = Path(__file__).parents[2]
SOURCE = {"dataset": "digitsv20-3-0-0", "model": "ce-tor-MLP"}
MODEL = {"model_uri": "models:/rsc-digits-MLP@digitsv20-3-0-0"}
SHORT = {"epochs": "1"}
MEMBERS = {"dataset": "memdigitsv20-3-0-0", "model": "ce-tor-MLP"}
OPTIONS: dict[str, dict[str, str]] = {
    "main": SHORT,
    "train_classifier": SOURCE | SHORT | {"register": "True", "learning_rate": "0.010"},
    "mem_inference": {"dataset": "memdigitsv20-3-0-0", "model": "ce-tor-MLP", "shadow_models": "2", "attacks": "loss"}
    | SHORT,
    "incremental_retraining": MODEL | {"epochs": "2"},
    "exact_retraining": MODEL,
    "group_influence": MODEL | {"curvature_examples": "100", "max_iterations": "10"},
    "relabel_finetuning": MODEL,
    "gradient_difference": MODEL,
    "score_model": MODEL | {"dataset": "digitsv8-0-0-0"},
    "visualize_weights": MODEL,
    "occlusion": MODEL,
    "theory": {"seeds": "2", "n_train": "100", "n_test": "100", "gammas": "0.9, 0.02"},
    "unlearn": MODEL | {"method": "relabel_finetuning", "unlearn_epochs": "2"},
    "attack": MEMBERS | SHORT | {"method": "loss", "shadow_models": "2"},
    "sweep": {"grid": "grid of two.yaml", "workers": "1"},
    "report": {"output": "report of all.html"},
}
"""Small options of every entry point; spellings that MLflow quotes or that are not ours."""


@pytest.fixture(scope="module")
def folder(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store that holds a finished training run."""
    folder = tmp_path_factory.mktemp("adopted")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    words = "{entry_point: train_classifier, options: {model: ce-tor-MLP, epochs: 1}, axes: {dataset: [digits]}}"
    (folder / "grid of two.yaml").write_text(words, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        assert status(entry_point("train_classifier"), words_of(SOURCE | SHORT)) == 0
    return folder


@pytest.fixture
def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(folder)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


def words_of(options: dict[str, str]) -> list[str]:
    return [word for key, value in options.items() for word in (f"--{key}", value)]


def everything(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables that hold runs and registered models."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        tables = ("runs", "params", "metrics", "tags", "latest_metrics", "model_versions", "registered_model_aliases")
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables}


def test_no_entry_point_is_left_out() -> None:
    assert set(OPTIONS) == set(PROGRAMS)


@pytest.mark.integration
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_mlflow_run_opened_is_taken(name: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MLflow's own parameters, defaults and quotes included, as its runner stores them before we start."""
    stored, extra = load_project(str(ROOT)).get_entry_point(name).compute_parameters(OPTIONS[name], None)
    run_id = client.create_run("0", run_name="bold-fish-123").info.run_id
    for key, value in (stored | extra).items():
        client.log_param(run_id, key, value)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    typed = {key: unquoted(value) for key, value in (stored | extra).items()}
    assert status(find_command(name), words_of(typed)) == 0
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[schema.KIND]
    assert run.data.params.items() >= (stored | extra).items()
    assert run.info.run_name != "bold-fish-123"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (SOURCE | SHORT | {"random_seed": "9"}, "has ended (FINISHED)"),
        (SOURCE | SHORT, "has ended (FINISHED)"),
        (SOURCE | SHORT | {"dataset": "nonsense"}, "nonsense"),
        (SOURCE | SHORT | {"epochs": "none"}, "epochs"),
    ],
)
def test_a_finished_run_in_the_variable_keeps_everything(
    options: dict[str, str],
    complaint: str,
    client: MlflowClient,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (version,) = client.search_model_versions("tags.dataset = 'digitsv20-3-0-0'", order_by=["version_number ASC"])[:1]
    monkeypatch.setenv("MLFLOW_RUN_ID", str(version.run_id))
    before = everything(folder)
    assert status(entry_point("train_classifier"), words_of(options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert complaint in line
    assert everything(folder) == before


def test_a_run_of_other_options_is_not_marked_either(
    client: MlflowClient, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is unfinished and empty, but opened for something else: the refusal itself must not end it."""
    client.log_param(run_id := client.create_run("0").info.run_id, "random_seed", "2")
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    before = everything(folder)
    assert status(entry_point("train_classifier"), words_of(SOURCE | SHORT | {"random_seed": "9"})) == 2
    assert "random_seed was 2, is 9" in capsys.readouterr().err
    assert everything(folder) == before


SMALL = "--seeds 2 --n_train 100 --n_test 100 --gammas 0.5"
WRAPPER = """
name: wrapper
entry_points:
  main: {{command: "{theory} && ! {report} && env -u MLFLOW_RUN_ID {report}"}}
"""


@pytest.mark.integration
def test_two_commands_in_one_mlflow_run(
    sqlite_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second is refused in one line, unless the wrapper gives it a run of its own, as docs/tracking.md says."""
    theory, report = (f"{sys.executable} -m entry_points.{name}" for name in (f"theory {SMALL}", "report"))
    (tmp_path / "MLproject").write_text(WRAPPER.format(theory=theory, report=report), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    mlflow.projects.run(str(tmp_path), env_manager="local")
    runs = MlflowClient(sqlite_store).search_runs(["0"], order_by=["attributes.start_time ASC"])
    assert [run.data.tags[schema.KIND] for run in runs] == ["score", "report"]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert runs[0].data.tags[schema.METHOD] == "theory"
    assert schema.ERROR not in runs[0].data.tags
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "has ended (FINISHED)" in line
