"""Exports of a real store: the runs that a study rests on, the same bytes again, merged with another store's."""

from pathlib import Path

import pytest

from entry_points.command import status
from results.__main__ import cli
from results.runs import FINGERPRINT, read_rows
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.experiments.unlearning import unlearn
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.tracking.fingerprint import fingerprint

ExactRetrainingOptions = method_options("exact_retraining")
RelabelFinetuningOptions = method_options("relabel_finetuning")

GRID = """
entry_point: train_classifier
options: {model: ce-tor-MLP, optimizer: adam, momentum: 0, epochs: 1, clean_seeds: 2}
axes:
  dataset: {family: digits, pattern: v20, count: 3, target: 0, seed: [0, 1]}
"""
UNLEARNING = """
entry_point: relabel_finetuning
options: {model: ce-tor-MLP, optimizer: adam, momentum: 0, epochs: 1, reference: find}
axes:
  dataset: {family: digits, pattern: v20, count: 3, target: 0, seed: 0}
"""


def options(dataset: str, **more: object) -> TrainOptions:
    given = {"model": "ce-tor-MLP", "optimizer": "adam", "momentum": 0.0, "epochs": 1, "clean_seeds": 2, **more}
    return TrainOptions.from_mapping({"dataset": dataset, **{key: str(value) for key, value in given.items()}})


def digest(one: TrainOptions) -> str:
    return fingerprint(one.identity())


def export(folder: Path, study: str, grid: str, *more: str) -> None:
    file = folder / "grid.yaml"
    file.write_text(grid)
    assert status(cli, ["export", "--out", str(folder), "--study", study, "--grid", str(file), *more]) == 0


@pytest.mark.usefixtures("sqlite_store")
def test_a_study_holds_its_runs_and_what_they_are_compared_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = [options("digits", random_seed=seed) for seed in (0, 1, 7)]
    foreign = [options("digits", epochs=2), options("digitsv20-20-0-0")]
    poisoned = options("digitsv20-3-0-0")
    for one in (*clean, *foreign, poisoned):
        train_members([TrainingJob(one)])
    capsys.readouterr()
    export(tmp_path, "scores", GRID)
    assert "scores: 1 of 2 jobs finished; 4 rows added, 4 in the file" in capsys.readouterr().out
    first = (tmp_path / "scores.csv").read_bytes()
    rows = {row[FINGERPRINT]: row for row in read_rows(tmp_path / "scores.csv")}
    assert set(rows) == {digest(one) for one in (*clean, poisoned)}
    found = rows[digest(poisoned)]
    assert found["params.dataset"] == "digitsv20-3-0-0"
    assert found["tags.rsc.clean_scores"].startswith('{"0": ')
    assert "metrics.spurious/score_target_0" in found
    unwanted = ("score_class", "score_target_1", "data_root", "rsc.host", "rsc.pid", "mlflow.user")
    assert not [name for row in rows.values() for name in row if any(part in name for part in unwanted)]
    assert {"tags.rsc.env.torch", "tags.rsc.env.mlflow", "tags.rsc.env.cpu"} <= set(found)
    assert "metrics.reference/v20/score_target_0" in rows[digest(clean[0])]
    export(tmp_path, "scores", GRID, "--replace")
    assert (tmp_path / "scores.csv").read_bytes() == first


@pytest.mark.usefixtures("sqlite_store")
def test_unlearning_brings_its_source_and_its_reference(tmp_path: Path) -> None:
    source = options("digitsv20-3-0-0")
    train_members([TrainingJob(source)])
    given = {"dataset": source.dataset, "model": source.model, "optimizer": "adam", "momentum": "0", "epochs": "1"}
    unlearn(ExactRetrainingOptions.from_mapping(given))
    unlearn(RelabelFinetuningOptions.from_mapping(given))
    export(tmp_path, "unlearning", UNLEARNING)
    rows = {row["tags.rsc.method"]: row for row in read_rows(tmp_path / "unlearning.csv")}
    assert set(rows) == {"train_classifier", "exact_retraining", "relabel_finetuning"}
    assert rows["relabel_finetuning"]["source_fingerprint"] == digest(source)
    assert rows["relabel_finetuning"]["reference_fingerprint"] == rows["exact_retraining"][FINGERPRINT]
    assert "metrics.unlearn/forget_loss" in rows["relabel_finetuning"]


@pytest.mark.usefixtures("sqlite_store")
def test_rows_of_other_stores_stay(tmp_path: Path) -> None:
    train_members([TrainingJob(options("digitsv20-3-0-0"))])
    export(tmp_path, "scores", GRID)
    before = (tmp_path / "scores.csv").read_text()
    other = before.splitlines()[1].replace(digest(options("digitsv20-3-0-0")), "elsewhere")
    (tmp_path / "scores.csv").write_text(before + other + "\n")
    export(tmp_path, "scores", GRID, "--replace")
    assert [row[FINGERPRINT] for row in read_rows(tmp_path / "scores.csv")].count("elsewhere") == 1
    assert len(read_rows(tmp_path / "scores.csv")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "score"], "Unknown study 'score'. Did you mean 'scores'? Expected one of: quickstart, scores"),
        (["--grid", "x.yaml"], "Got --grid with 0 studies"),
    ],
)
def test_wrong_names_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(cli, ["export", *arguments]) == 2
    assert message in capsys.readouterr().err
