"""The unlearning entry points as programs: one error line, status 2, and nothing registered."""

import pytest
from mlflow import MlflowClient

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.unlearning.base import METHODS


def run(method: str, *arguments: str) -> int:
    return status(entry_point(method), list(arguments))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_method_is_an_entry_point_with_its_options_class(method: str) -> None:
    assert entry_point(method).options_class is method_options(method)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: Options 'model_uri' and 'dataset' are missing"),
        (["--model_uri", "models:/nothing@here"], "error: Cannot find models:/nothing@here"),
        (["--model_uri", "mnist"], "error: 'mnist' is not a valid model URI. Expected models:/NAME/VERSION"),
        (["--model_uri", "runs:/0123/model"], "error: Cannot find runs:/0123/model"),
        (["--dataset", "digitsv20-3-0-0"], "error: No finished training run with dataset=digitsv20-3-0-0"),
        (
            ["--dataset", "digitsv20-3-0-0", "--reference", "maybe"],
            "error: Invalid value for 'reference': 'maybe'. Expected one of: find",
        ),
        (
            ["--dataset", "digitsv20-3-0-0", "--damping", "0"],
            "error: Invalid value for 'damping': '0'. Expected a finite number > 0",
        ),
        (
            ["--dataset", "digitsv20-3-0-0", "--solver", "gmres"],
            "error: Invalid value for 'solver': 'gmres'. Expected one of: cg, lissa, ekfac",
        ),
    ],
)
@pytest.mark.usefixtures("sqlite_store")
def test_bad_input_is_one_line_and_status_2_and_registers_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("group_influence", *arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(message)
    assert MlflowClient().search_registered_models() == []


def test_a_server_that_is_not_there_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run("relabel_finetuning", "--model_uri", "models:/rsc-digits-MLP/1") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: No server answers at http://127.0.0.1:9")
