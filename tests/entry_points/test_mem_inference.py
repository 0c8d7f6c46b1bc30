"""mem_inference as a program: what it prints, and how it refuses."""

import pytest

from entry_points.command import status
from entry_points.commands import entry_point

SMALL = ("--model", "ce-tor-MLP", "--epochs", "1", "--shadow_models", "4", "--register", "false")


@pytest.mark.usefixtures("sqlite_store")
def test_the_table_shows_each_attack_with_its_control(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        status(entry_point("mem_inference"), ["--dataset", "memdigitsv20-5-0-0", "--attacks", "loss,rmia", *SMALL]) == 0
    )
    printed = capsys.readouterr().out
    for word in ("Loss (Yeom et al. 2018)", "RMIA, offline", "spurious TPR", "control FPR", "spurious AUC"):
        assert word in printed
    assert "LiRA" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "digits"], "error: Invalid value for 'dataset': 'digits'. Expected memFAMILY"),
        (["--dataset", "memdigitsv20-999-0-0"], "error: Cannot choose 999 spurious examples of class 0"),
        (["--dataset", "memdigits", "--attacks", "lira", "--shadow_models", "3"], "error: The attack 'lira' needs"),
        (["--dataset", "memdigits", "--model_uri", "models:/nothing/1"], "error: Cannot find models:/nothing/1"),
    ],
)
@pytest.mark.usefixtures("sqlite_store")
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(entry_point("mem_inference"), arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(message)
