"""The table of ``python -m benchmarks mutants``, and the listed mutants that no test can kill."""

import inspect
import pkgutil

import pytest

from benchmarks.mutants import HEADER, Mutant, listed_equivalents, row


def test_the_share_is_of_the_mutants_that_are_not_equivalent() -> None:
    tried = [Mutant(str(i), status) for i, status in enumerate(["killed"] * 6 + ["timeout"] + ["survived"] * 3)]
    cells = dict(zip(HEADER, row("data", tried, equivalent=2, survived=1), strict=True))
    counts = {"mutants": "10", "killed": "6", "timeouts": "1", "equivalent": "2", "survived": "1"}
    assert cells == {"area": "data", **counts, "killed of the others": "88%"}  # 7 of 8


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("rsc_mlflow.statistics.x__pair__mutmut_15", "rsc_mlflow.statistics._pair"),
        ("rsc_mlflow.statistics.x_holm__mutmut_2", "rsc_mlflow.statistics.holm"),
        ("rsc_mlflow.data.families.xǁImageSetǁ__len____mutmut_1", "rsc_mlflow.data.families.ImageSet.__len__"),
    ],
)
def test_the_function_of_a_mutant(name: str, function: str) -> None:
    assert Mutant(name, "survived").function == function


def test_equivalent_mutants_change_lines_that_are_still_there() -> None:
    for entry in listed_equivalents():
        assert set(entry) == {"function", "before", "after", "reason"}
        source = inspect.getsource(pkgutil.resolve_name(entry["function"]))
        lines = [line.strip() for line in source.splitlines()]
        assert all(line in lines for line in entry["before"].splitlines()), entry
