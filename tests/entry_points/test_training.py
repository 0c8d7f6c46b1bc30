"""A training ends with its answer, and with where to look next."""

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.tracking.experiments import run_page

QUICK = ("--model", "ce-tor-MLP", "--epochs", "1")


def train(*arguments: str) -> Run:
    assert status(entry_point("train_classifier"), [*QUICK, *arguments]) == 0
    return newest()


def newest() -> Run:
    client = MlflowClient()
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(ids, order_by=["start_time DESC"])[0]


@pytest.mark.usefixtures("sqlite_store")
def test_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    run = train("--dataset", "digits")
    accuracy = f"test accuracy {run.data.metrics['test/accuracy']:.4f}"
    assert capsys.readouterr().out == (
        f"digits MLP sgd seed 0: {accuracy}; model models:/rsc-digits-MLP@digits; run {run.info.run_id} "
        "(to view it: rsc serve)\n"
    )
    run = train("--dataset", "digitsv20-3-0-0", "--register", "false")
    line = capsys.readouterr().out
    score, p_value = (run.data.metrics[f"spurious/{name}"] for name in ("score", "p_value"))
    assert f"spurious score {score:.4f}, p = {p_value:.3g} (rank among 1 clean model); " in line
    assert f"run {run.info.run_id}" in line
    assert "model models:/m-" in line
    assert "(not registered)" in line


@pytest.mark.usefixtures("sqlite_store")
def test_the_answers_of_other_commands_are_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's answer, with the metrics that its run stored; where to look is on standard error."""
    dataset, model = ("--dataset", "digitsv20-3-0-0"), ("--model_uri", "models:/rsc-digits-MLP@digitsv20-3-0-0")
    train("--dataset", "digits")
    train(*dataset)

    def answer(name: str, *arguments: str) -> tuple[str, dict[str, float]]:
        capsys.readouterr()
        assert status(entry_point(name), list(arguments)) == 0
        printed = capsys.readouterr()
        run = newest()
        assert f"run {run.info.run_id} (to view it: rsc serve)" in (printed.out + printed.err)
        return printed.out, run.data.metrics

    out, found = answer("score_model", *model, *dataset)
    values = f"test accuracy {found['test/accuracy']:.4f}, spurious score {found['spurious/score']:.4f}"
    assert out == f"{model[1]} on {dataset[1]}: {values}\n"
    out, found = answer("visualize_weights", *model)
    assert [float(line.rsplit(": ")[1]) for line in out.splitlines()] == pytest.approx(
        [
            found[f"weights/{name}"]
            for name in ("pattern_correlation", "pattern_correlation_compared", "mean_absolute_difference")
        ],
        abs=5e-4,
    )
    out, found = answer("occlusion", *model, "--examples", "20", "--steps", "3")
    assert out == f"{dataset[1]} MLP seed 0: area under the occlusion curve {found['occlusion/auc']:.4f}\n"
    out, found = answer("relabel_finetuning", *model)
    change = f"{found['before/spurious/score']:.4f} → {found['spurious/score']:.4f}"
    assert out.startswith(f"relabel_finetuning {dataset[1]} MLP sgd seed 0: spurious score {change}, test accuracy ")


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/#/experiments/7/runs/abc?workflowType=machine_learning"),
        (
            "http://ann:secret@host/below/",
            "http://ann:***@host/below/#/experiments/7/runs/abc?workflowType=machine_learning",
        ),
        ("sqlite:///mlflow.db", None),
    ],
)
def test_the_page_of_a_run(uri: str, page: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    assert run_page("7", "abc") == page
