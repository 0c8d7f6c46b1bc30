"""The theory's run: what it logs is what the formulas give."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.theory import calculate, run_theory
from rsc_mlflow.experiments.theory_options import TheoryOptions
from rsc_mlflow.theory import LinearModelParams, as_printed, closed_form

SMALL = {"n_train": "400", "n_test": "200", "seeds": "2", "ridges": "1,0", "noises": "0.3", "gammas": "0.5"}


@pytest.mark.usefixtures("sqlite_store")
def test_curves_metrics_table_and_picture_are_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_theory(TheoryOptions.from_mapping(SMALL | {"gamma_steps": "3"}))
    client = MlflowClient()
    run = client.search_runs([e.experiment_id for e in client.search_experiments()])[0]
    assert (run.info.status, run.data.tags["rsc.method"]) == ("FINISHED", "theory")
    assert run.data.params["ridges"] == "0,1"
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    content = json.loads((folder / "theory.json").read_text())
    assert [curve["lambda"] for curve in content["curves"]] == [0, 1]
    assert content["curves"][1]["gamma"] == [0, 0.5, 1]
    expected = [closed_form(LinearModelParams(gamma, 1, 0.3)) for gamma in (0, 0.5, 1)]
    assert content["curves"][1]["spurious_accuracy"] == pytest.approx([one.spurious_accuracy for one in expected])
    assert content["printed"][0]["score"][1] == pytest.approx(as_printed(LinearModelParams(0.5, 0, 0.3)).score)
    far = [abs(a.derived.score - a.measured[0].estimate) for a in result.grid]
    assert run.data.metrics["theory/derived_error_score"] == pytest.approx(max(far))
    assert 0 <= run.data.metrics["theory/printed_inside"] <= run.data.metrics["theory/derived_inside"] <= 1
    assert (folder / "figures/theory.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "theory.md").read_text() == capsys.readouterr().out.rstrip("\n")


def test_a_long_simulation_says_ten_times_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    gammas = ",".join(str(k / 25) for k in range(23))
    few = {"n_train": "20", "n_test": "20", "ridges": "1", "gammas": gammas, "gamma_steps": "2"}
    calculate(TheoryOptions.from_mapping(SMALL | few))
    said = [f"theory: {count}/23 points simulated" for count in (*range(2, 23, 2), 23)]
    assert capsys.readouterr().err.splitlines() == said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ridges", "1,-1", "Expected finite numbers ≥ 0"),
        ("ridges", "1,,2", "ridges"),
        ("ridges", "1_0", "ridges"),
        ("gammas", "0.5,1.5", "≤ 1"),
        ("noises", "nan", "noises"),
        ("sigma_inv", "0", "For ridge 0 and noise 0"),
        ("seeds", "1", "an integer from 2"),
        ("x_sp_squared", "0", "> 0"),
    ],
)
def test_bad_options_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TheoryOptions.from_mapping({name: value})


def test_lists_are_kept_in_one_spelling() -> None:
    assert TheoryOptions(ridges="10, 0,0.50").ridges == "0,0.5,10"
    assert TheoryOptions(ridges="10, 0,0.50") == TheoryOptions(ridges="0,0.5,10")
