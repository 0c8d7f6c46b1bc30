"""The tour: twelve runs below one, and a table of what they logged."""

from statistics import fmean

import pytest
from mlflow import MlflowClient

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.experiments.tour import POISONED


@pytest.mark.usefixtures("sqlite_store")
def test_the_table_shows_what_the_runs_logged(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(entry_point("main"), ["--epochs", "2"]) == 0
    client = MlflowClient()
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    (parent,) = (run for run in runs if run.data.tags["rsc.method"] == "main")
    trained = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in trained} == {parent.info.run_id}
    clean = [run.data.metrics for run in trained if run.data.params["dataset"] == "digits"]
    assert len(clean) == 10
    poisoned = {run.data.params["dataset"]: run.data.metrics for run in trained if run.data.params["pattern"] == "v20"}
    assert set(poisoned) == set(POISONED)
    printed = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed]
    rows = {cells[0]: cells[1:] for cells in table if cells}
    scores = [metrics["reference/v20/score_target_0"] for metrics in clean]
    accuracy = fmean(metrics["test/accuracy"] for metrics in clean)
    spread = f"{min(scores):.3f} to {max(scores):.3f}"
    assert rows["digits (10 clean models)"] == [f"{accuracy:.3f}", spread, "–"]
    for name, metrics in poisoned.items():
        higher = sum(score >= metrics["spurious/score"] for score in scores)
        shown = [f"{metrics[key]:.3f}" for key in ("test/accuracy", "spurious/score")]
        assert rows[name] == [*shown, f"{(1 + higher) / 11:.3f}"]
