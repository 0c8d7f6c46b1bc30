"""The tour: three runs below one, and a table of what they logged."""

import pytest
from mlflow import MlflowClient

from entry_points.command import status
from entry_points.main import cli
from rsc_mlflow.experiments.tour import DATASETS


@pytest.mark.usefixtures("sqlite_store")
def test_the_table_shows_what_the_three_runs_logged(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(cli, ["--epochs", "2"]) == 0
    client = MlflowClient()
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    (parent,) = (run for run in runs if run.data.tags["rsc.method"] == "main")
    trained = {run.data.params["dataset"]: run for run in runs if run is not parent}
    assert set(trained) == set(DATASETS)
    assert {run.data.tags["mlflow.parentRunId"] for run in trained.values()} == {parent.info.run_id}
    rows = {
        cells[0]: cells[1:]
        for cells in ([cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines())
        if cells and cells[0] in trained
    }
    clean = trained["digits"].data.metrics
    baseline = f"{clean['reference/v20/score_target_0']:.3f}"
    assert rows["digits"] == [f"{clean['test/accuracy']:.3f}", baseline, "–", "–"]
    for name in DATASETS[1:]:
        metrics = trained[name].data.metrics
        shown = [f"{metrics[key]:.3f}" for key in ("test/accuracy", "spurious/score")]
        assert rows[name] == [*shown, baseline, f"{metrics['spurious/p_value']:.1e}"]
