"""The reference pages: entry points with their options, stored names, and the Python API."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from entry_points.commands import commands
from entry_points.generic import Generic
from rsc_mlflow.fields import Field, help_of, option_fields, param_text
from rsc_mlflow.sweeps.shipped import shipped_grids
from rsc_mlflow.tracking import schema

API = (
    "names",
    "families",
    "patterns",
    "data",
    "models",
    "training",
    "scoring",
    "theory",
    "unlearning",
    "attacks",
    "statistics",
    "analysis",
    "tracking.query",
    "tracking.pull",
    "tracking.run",
    "plugins",
    "errors",
)
"""Modules and packages of ``rsc_mlflow`` whose public names have a page, in the order of the navigation."""
SECTIONS = {"tags": "Tags", "metrics": "Metrics", "artifacts": "Artifacts"}
"""Comment in ``schema.py`` that begins a section → its heading."""


def reference_pages() -> dict[str, str]:
    """Path of each generated page below docs/ → its Markdown."""
    pages = {"reference/entry_points.md": entry_points_page(), "reference/names.md": names_page()}
    return pages | {f"reference/api/{name}.md": api_page(name) for name in API}


def api_page(name: str) -> str:
    """What mkdocstrings turns into the documentation of a module or package."""
    return f"# `rsc_mlflow.{name}`\n\n::: rsc_mlflow.{name}\n"


def entry_points_page() -> str:
    """Every command with all its options, from the registry, and the shipped grids."""
    intro = (
        "# Entry points\n\n"
        "Run a command with `rsc NAME --option value` or `python -m entry_points.NAME --option value`. "
        "Those of the MLproject also run with `mlflow run . --env-manager=local -e NAME -P option=value`.\n\n"
    )
    sections = []
    for name, one in commands().items():
        fields = one.fields() if isinstance(one, Generic) else option_fields(one.options_class)
        sections.append(f"## {name}\n\n{_escape(one.summary)}\n\n{_options(fields)}")
    grids = "\n".join(f"- `{name}`" for name in shipped_grids())
    return intro + "\n\n".join(sections) + f"\n\n## Shipped grids\n\nValues of `rsc sweep --grid`:\n\n{grids}\n"


def _options(fields: list[Field]) -> str:
    rows = [
        f"| `{one.name}` | {'required' if one.default is dataclasses.MISSING else f'`{param_text(one.default)}`'} "
        f"| {_escape(help_of(one))} |"
        for one in fields
    ]
    return "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows])


def names_page() -> str:
    """Tags, metrics and artifacts, from the constants of ``schema.py`` and the text below each."""
    parts = ["# Tags, metrics and artifacts\n\nPython constants are in `rsc_mlflow.tracking.schema`.\n"]
    for heading, rows in schema_names().items():
        parts.append(f"\n## {heading}\n\n| name | constant | meaning |\n| --- | --- | --- |\n")
        parts += [f"| `{value}` | `{constant}` | {_escape(text)} |\n" for constant, value, text in rows]
    return "".join(parts)


def schema_names() -> dict[str, list[tuple[str, str, str]]]:
    """Heading → constants of that section: name, value and documentation."""
    source = Path(schema.__file__).read_text(encoding="utf-8")
    starts = {match.start(): match[1] for match in re.finditer(r"^# ---- (.+)$", source, re.MULTILINE)}
    lines = {source.count("\n", 0, start) + 1: SECTIONS.get(title) for start, title in starts.items()}
    found: dict[str, list[tuple[str, str, str]]] = {heading: [] for heading in SECTIONS.values()}
    for line, constant, value, text in _constants(ast.parse(source).body):
        before = [start for start in lines if start < line]
        heading = lines[max(before)] if before else None
        if heading is not None:
            found[heading].append((constant, value, text))
    return found


def _constants(body: list[ast.stmt]) -> Iterator[tuple[int, str, str, str]]:
    """Line, name, value and documentation of each public text constant."""
    for one, after in zip(body, [*body[1:], None], strict=True):
        match one:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))) if name[0] != "_":
                yield one.lineno, name, value, _text_of(after)


def _text_of(after: ast.stmt | None) -> str:
    match after:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return " ".join(text.split())
    return ""


def _escape(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`").replace("<", "&lt;")
