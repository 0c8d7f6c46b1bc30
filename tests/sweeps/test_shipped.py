"""Shipped grids by name, and files by path."""

from pathlib import Path

import pytest

from rsc_mlflow.errors import InputError
from rsc_mlflow.sweeps.shipped import grid_file, shipped_grids

GRIDS = Path(__file__).parents[2] / "grids"


def test_every_grid_of_the_checkout_has_a_name() -> None:
    assert sorted(shipped_grids().values()) == sorted(GRIDS.rglob("*.yaml"))
    assert shipped_grids()["quick/scores"] == GRIDS / "quick" / "scores.yaml"


@pytest.mark.parametrize("given", ["quick/scores", "quick/scores.yaml", "grids/quick/scores.yaml"])
def test_a_shipped_grid_is_found_from_any_folder(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert grid_file(given) == GRIDS / "quick" / "scores.yaml"


def test_a_file_comes_before_a_shipped_grid_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "quick" / "scores.yaml"
    own.parent.mkdir()
    own.write_text("entry_point: train_classifier")
    assert grid_file("quick/scores.yaml").resolve() == own
    assert grid_file("quick/scores") == GRIDS / "quick" / "scores.yaml"


@pytest.mark.parametrize("given", ["quick/score", "", "a\x00b", "a" * 5000, "no/such.yaml"])
def test_what_is_neither_is_refused(given: str) -> None:
    with pytest.raises(
        InputError,
        match=r"^Unknown grid .*Expected one of: .*quick/scores, .* a YAML file is accepted, too\.$",
    ):
        grid_file(given)


def test_a_spelling_mistake_is_named() -> None:
    with pytest.raises(InputError, match="Did you mean 'quick/scores'"):
        grid_file("quick/score")
