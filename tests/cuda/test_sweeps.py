"""Sweeps on a GPU."""

from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.sweeps.worker import run_unit
from tests.cuda import GPU, needs_gpu
from tests.sweeps.units import all_runs, train, unit

pytestmark = needs_gpu

GRID = """
about: Poisoned and clean models.
entry_point: train_classifier
options: {model: ce-tor-LargeMLP, epochs: 12, optimizer: adam, learning_rate: 0.001, clean_seeds: 2}
axes:
  dataset: {family: digits, pattern: v20, count: [20], target: 0, seed: [0, 1, 2]}
"""


@pytest.mark.usefixtures("sqlite_store")
def test_a_sweep_trains_scores_and_compares_on_the_gpu(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    assert status(entry_point("sweep"), ["--grid", str(path)]) == 0
    poisoned = [run for run in all_runs(MlflowClient()) if run.data.params.get("pattern") == "v20"]
    assert len(poisoned) == 3
    for run in poisoned:
        assert run.info.status == "FINISHED"
        assert run.data.metrics["spurious/score"] > 0.5  # on the CPU .7 to .9
        assert run.data.metrics["spurious/n_reference"] == 2


@pytest.mark.usefixtures("sqlite_store")
def test_a_cohort_that_does_not_fit_into_memory_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    """16 LargeMLPv2, of some 20 MB each with gradients and moments, in 160 MB."""
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved(GPU) + 160 * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(GPU).total_memory, GPU)
    options = [train(model="ce-tor-LargeMLPv2", optimizer="adam", device="cuda", random_seed=k) for k in range(16)]
    try:
        outcomes = run_unit(unit(*options))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert [outcome.state for outcome in outcomes] == ["finished"] * 16
    assert "16 models together need more memory than is free; 8 of them train first" in caplog.messages
    assert [run.info.status for run in all_runs(MlflowClient())] == ["FINISHED"] * 16
