"""A store that commit bcd8093 filled (``store.tar.xz``, made by ``make.py``) is used as if it were this commit's.

Its paths are rewritten where it is unpacked, as MLflow stores absolute ones.
"""

import tarfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from dashboards.data import Filters
from dashboards.figures.style import LIGHT
from dashboards.pages import PAGES
from dashboards.panels import Page, panels
from dashboards.repository import RunRepository
from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.analysis.values import unreadable_values
from rsc_mlflow.data import load_dataset
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.models import build_empty
from rsc_mlflow.names import DatasetName
from rsc_mlflow.sweeps.ledger import Ledger
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.frame import RunStore
from rsc_mlflow.tracking.pull import pull
from rsc_mlflow.training import Checkpoint
from tests.old_store.make import GRID, PLACE, move

ARCHIVE = Path(__file__).with_name("store.tar.xz")
RECIPE: dict[str, Any] = {"model": "ce-tor-MLP", "optimizer": "sgd", "learning_rate": 0.3, "momentum": 0.0, "epochs": 4}
TRAINED = "models:/rsc-digits-MLP@digitsv20-60-0-0"
UNLEARNED = "models:/rsc-digits-MLP@digitsv20-60-0-0--exact_retraining"
FINISHED = {
    ("train", "train_classifier"): 4,
    ("unlearn", "exact_retraining"): 1,
    ("unlearn", "incremental_retraining"): 1,
    ("unlearn", "group_influence"): 1,
    ("attack", "shadow_models"): 1,
    ("attack", "mem_inference"): 1,
    ("score", "score_model"): 1,
    ("sweep", "train_classifier"): 1,
}


FILLED = {
    "": ("runs", "sweeps", "newest", "models"),
    "scores": ("curves", "classes"),
    "factors": ("norms",),
    "unlearning": ("before_after", "side_by_side", "gaps", "trade_off"),
    "privacy": ("roc",),
}
"""Page → panels that have something to show of it; the others wait for runs that it lacks."""


@pytest.fixture
def old_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(tmp_path, filter="data")
    folder = tmp_path / "store"
    move(folder, PLACE, str(folder))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    return MlflowClient()


def runs(client: MlflowClient) -> list[Run]:
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, max_results=1000))


def new_run(client: MlflowClient, name: str, words: list[str]) -> Run:
    """The one run that a command adds, whose status it checks."""
    before = {run.info.run_id for run in runs(client)}
    assert status(entry_point(name), words) == 0
    (made,) = [run for run in runs(client) if run.info.run_id not in before]
    assert made.info.status == "FINISHED"
    return made


def source_of(client: MlflowClient) -> Run:
    return client.get_run(client.get_model_version_by_alias("rsc-digits-MLP", "digitsv20-60-0-0").run_id or "")


def test_its_runs_are_found_by_todays_fingerprints(old_store: MlflowClient) -> None:
    found: dict[tuple[str, str], int] = {}
    for run in runs(old_store):
        key = (run.data.tags[schema.KIND], run.data.tags[schema.METHOD])
        found[key] = found.get(key, 0) + (run.info.status == "FINISHED")
    assert found == FINISHED
    stored = {
        run.data.params["dataset"]: run.data.tags[schema.FINGERPRINT]
        for run in runs(old_store)
        if run.data.tags[schema.METHOD] == "train_classifier" and run.data.tags[schema.KIND] == "train"
    }
    for dataset, digest in stored.items():
        assert fingerprint(TrainOptions(dataset=dataset, **RECIPE).identity()) == digest
    ledger = Ledger.read(old_store)
    assert set(stored.values()) <= set(ledger.finished)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path or "overview")
def test_every_page_shows_it(old_store: MlflowClient, page: Page) -> None:
    uri = mlflow.get_tracking_uri()
    repository = RunRepository(RunStore(uri), Details(lambda: MlflowClient(uri)))
    visible = repository.snapshot(timeout=60)
    assert len(visible.runs) == sum(FINISHED.values())
    assert (visible.runs["problem"] == "").all()
    shown = panels(page, repository.view(visible, Filters(), LIGHT))
    assert shown
    assert not [panel for panel in shown if "could not be drawn" in panel.message]
    for panel in shown:
        if panel.key in FILLED.get(page.path, ()):
            assert panel.plots or (panel.show_table and len(panel.table))
            assert not panel.message
    assert {panel.key for panel in shown} >= set(FILLED.get(page.path, ()))


def test_no_value_of_its_runs_is_called_unreadable(old_store: MlflowClient) -> None:
    """Every metric that a finished run logs is within the range that the dashboards expect of it."""
    frame = RunStore(mlflow.get_tracking_uri()).refresh().frame
    assert any(str(name).endswith("/n_controls") for name in frame)
    assert set(unreadable_values(frame)) == {""}


def test_its_models_load(old_store: MlflowClient) -> None:
    images = load_dataset(DatasetName.parse("digitsv20-60-0-0")).test.images[:50]
    for uri in (TRAINED, UNLEARNED):
        module = build_empty("MLP", (1, 28, 28), 10).eval()
        module.load_state_dict(pull(uri).state_dict)
        with torch.no_grad():
            ours, theirs = module(images), mlflow.pytorch.load_model(uri)(images)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    folder = Path(source_of(old_store).info.artifact_uri)
    state = Checkpoint.load(folder / "checkpoints" / "epoch_0004.pt").model
    assert all(torch.equal(state[name], value) for name, value in pull(TRAINED).state_dict.items())


def test_scoring_its_model_gives_its_score(old_store: MlflowClient) -> None:
    scored = new_run(old_store, "score_model", ["--model_uri", TRAINED, "--dataset", "digitsv20-0-0-0"])
    stored = source_of(old_store).data.metrics[schema.SPURIOUS_SCORE]
    assert scored.data.metrics[schema.SPURIOUS_SCORE] == pytest.approx(stored, abs=0.005)
    assert stored > 0.5


def test_its_model_unlearns_and_finds_its_reference(old_store: MlflowClient) -> None:
    exact = next(run for run in runs(old_store) if run.data.tags[schema.METHOD] == "exact_retraining")
    made = new_run(old_store, "relabel_finetuning", ["--model_uri", TRAINED, "--unlearn_epochs", "1"])
    assert made.data.tags[schema.SOURCE_RUN_ID] == source_of(old_store).info.run_id
    assert made.data.tags[schema.REFERENCE_RUN_ID] == exact.info.run_id


def test_retraining_exactly_gives_what_it_gave(old_store: MlflowClient) -> None:
    exact = next(run for run in runs(old_store) if run.data.tags[schema.METHOD] == "exact_retraining")
    made = new_run(old_store, "exact_retraining", ["--model_uri", TRAINED])
    assert made.data.tags[schema.FINGERPRINT] == exact.data.tags[schema.FINGERPRINT]
    assert made.data.metrics[schema.TEST_ACCURACY] == pytest.approx(exact.data.metrics[schema.TEST_ACCURACY], abs=0.01)


def test_a_sweep_with_its_grid_has_nothing_left(
    old_store: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID.replace("checkpoint_every: 0}", "checkpoint_every: 0, clean_seeds: 0}"))
    assert (tmp_path / "store" / "grid.yaml").read_text() == GRID
    assert status(entry_point("sweep"), ["--grid", str(grid), "--status", "true"]) == 0
    assert "3 jobs, 3 finished, 0 running, 0 interrupted, 0 failed, 0 missing" in capsys.readouterr().out
    before = {run.info.run_id for run in runs(old_store)}
    assert status(entry_point("sweep"), ["--grid", str(grid), "--workers", "1"]) == 0
    added = [run for run in runs(old_store) if run.info.run_id not in before]
    assert [run.data.tags[schema.KIND] for run in added] in ([], ["sweep"])
