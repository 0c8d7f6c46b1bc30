"""The table of ``python -m benchmarks mutants``, and the listed mutants that no test can kill."""

import inspect
import pkgutil
from pathlib import Path

import click
import libcst
import pytest
from mutmut.mutation.pragma_handling import PragmaVisitor

from benchmarks.mutants import (
    EQUIVALENT,
    GPU_ONLY,
    HEADER,
    LEAST,
    Counts,
    Mutant,
    explained_mutants,
    require,
    without_uncovered,
)


def test_the_share_is_of_the_mutants_that_are_not_equivalent() -> None:
    tried = [Mutant(str(i), status) for i, status in enumerate(["killed"] * 6 + ["timeout"] + ["survived"] * 5)]
    found = Counts.of("data", tried, {EQUIVALENT: 2, GPU_ONLY: 1, "": 1, "moves a legend": 1})
    cells = dict(zip(HEADER, found.cells(), strict=True))
    counts = {"mutants": "12", "killed": "6", "timeouts": "1", "equivalent": "2", "GPU only": "1", "survived": "2"}
    assert cells == {"area": "data", **counts, "killed of the others": "78%"}  # 7 of 9
    assert found.share == 7 / 9 < LEAST


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


SOURCE = """\
class Graph:  # pragma: no cover - needs a GPU
    def replay(self):
        return 1


def half(x):
    if x < 0:  # pragma: no cover
        x = -x
    return x / 2
    return x / 3  # pragma: no cover - needs a GPU
"""


def test_lines_that_no_test_can_reach_are_not_mutated() -> None:
    visitor = PragmaVisitor("graph.py")
    libcst.MetadataWrapper(libcst.parse_module(without_uncovered(SOURCE))).visit(visitor)
    left_out = visitor.no_mutate_lines | visitor.ignore_node_lines
    assert {number for number in range(1, 11) if number not in left_out} == {4, 5, 6, 9}


def test_a_check_that_mutmut_did_not_finish_ends_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "mutmut.log").write_text("\n".join(map(str, range(30))))
    require(True, tmp_path)
    with pytest.raises(
        click.ClickException, match=r"^10\n(.*\n)*29\n\nmutmut ended early.* See .*mutmut\.log"
    ) as raised:
        require(False, tmp_path)
    assert "run again to resume" in str(raised.value)


def test_explained_mutants_change_lines_that_are_still_there() -> None:
    for (function, before, after), (effect, reason) in explained_mutants().items():
        source = inspect.getsource(pkgutil.resolve_name(function))
        lines = [line.strip() for line in source.splitlines()]
        assert all(line in lines for line in before.splitlines()), before
        assert before != after
        assert effect
        assert reason
