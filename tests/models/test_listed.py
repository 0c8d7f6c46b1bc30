"""The architectures that help and docs/models.md list are those of the registry, with the parameters they have."""

import re
from pathlib import Path

import click
import pytest

from entry_points.commands import entry_point
from rsc_mlflow.architectures import ARCHITECTURES, BUILTIN
from rsc_mlflow.errors import InputError
from rsc_mlflow.models import build_empty

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ROWS = re.findall(r"^\| `(\w+)` \| .* \| (\S+) \| (\S+) \| (yes|) *\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_help_lists_the_built_in_architectures() -> None:
    assert tuple(name for name in ARCHITECTURES if ARCHITECTURES.is_builtin(name)) == BUILTIN
    with click.Context(entry_point("train_classifier")) as context:
        text = " ".join(entry_point("train_classifier").get_help(context).split())
    assert f"Architectures: {', '.join(BUILTIN)}." in text
    assert "Losses: ce, mse, kld." in text


def test_the_page_has_a_row_for_each() -> None:
    assert [row[0] for row in ROWS] == list(BUILTIN)


@pytest.mark.parametrize(("name", "gray", "color", "cohorts"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row(name: str, gray: str, color: str, cohorts: str) -> None:
    for shape, shown in (((1, 28, 28), gray), ((3, 32, 32), color)):
        try:
            model = build_empty(name, shape, 10)
        except InputError:
            assert shown == "–"
        else:
            assert int(shown.replace(",", "")) == sum(parameter.numel() for parameter in model.parameters())
    assert (cohorts == "yes") == ARCHITECTURES[name].stackable
