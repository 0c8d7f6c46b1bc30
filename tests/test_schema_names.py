"""Names of metrics, tags and artifacts are spelled in ``schema.py`` and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsc_mlflow.tracking import schema

ROOT = Path(__file__).parents[1]
FOLDERS = ("rsc_mlflow", "dashboards", "entry_points", "results", "benchmarks")
NAMES = {
    value
    for name, value in vars(schema).items()
    if name.isupper() and isinstance(value, str) and {"/", "."} & set(value)
}
"""The constants that no other word in the code can equal by chance."""
SPACES = tuple(sorted({name.split("/")[0] + "/" for name in NAMES if "/" in name} | {"privacy/", "detect/", "rsc."}))
"""What a name begins with: the metrics' first words, those of the contract's reserved ones, and our tags'."""
EXCEPTIONS = {
    "rsc_mlflow/analysis/values.py": "regular expressions over names: a metric's range goes by families of names",
}


def _texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """All texts, parts of f-strings included, docstrings not."""
    documented = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documented:
            yield node


def _spelled(source: str) -> list[tuple[int, str]]:
    """Line and text of every literal that is a name of ``schema.py`` or begins like one."""
    return [
        (node.lineno, str(node.value))
        for node in _texts(ast.parse(source))
        if node.value in NAMES or (str(node.value).startswith(SPACES) and " " not in str(node.value))
    ]


FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if path.name != "schema.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_of_the_schema_is_spelled_elsewhere(path: Path) -> None:
    found = _spelled(path.read_text(encoding="utf-8"))
    assert bool(found) == (str(path.relative_to(ROOT)) in EXCEPTIONS), found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('x["spurious/score"]', ["spurious/score"]),
        ('f"gap/{name}"', ["gap/"]),
        ('"""test/loss"""', []),
        ('def f():\n    """train/loss"""\n    return "train/loss"', ["train/loss"]),
        ('log(run, "rsc.kind", "train")', ["rsc.kind"]),
        ('read("roc.json")', ["roc.json"]),
        ('"attack/lira/auc of a model"', []),
        ('"train"', []),
    ],
)
def test_what_counts_as_a_name(source: str, found: list[str]) -> None:
    assert [text for _, text in _spelled(source)] == found


def test_the_spaces_are_those_of_the_contract() -> None:
    wanted = {
        "train",
        "test",
        "spurious",
        "reference",
        "before",
        "gap",
        "unlearn",
        "attack",
        "cost",
        "sweep",
        "weights",
        "occlusion",
        "theory",
        "privacy",
    }
    assert {space.removesuffix("/") for space in SPACES} == wanted | {"detect", "rsc."}
