"""The reference pages: entry points with their options, stored names, and the Python API."""

import ast
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

from docs_build.links import ROOT
from entry_points.commands import commands, programs
from entry_points.generic import Generic
from entry_points.local import Local
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import all_experiments
from rsc_mlflow.experiments.spec import ExperimentSpec
from rsc_mlflow.experiments.unlearning_options import UnlearnOptions
from rsc_mlflow.fields import Field, Options, help_of, option_fields, param_text, text
from rsc_mlflow.sweeps.shipped import shipped_grids
from rsc_mlflow.tracking import schema

API = (
    "api",
    "names",
    "data",
    "patterns",
    "families",
    "models",
    "training",
    "scoring",
    "scoring.weights",
    "scoring.occlusion",
    "statistics",
    "theory.formulas",
    "theory.simulation",
    "unlearning.base",
    "unlearning.methods",
    "attacks.base",
    "attacks.methods",
    "attacks.metrics",
    "analysis",
    "tracking.query",
    "tracking.pull",
    "tracking.run",
    "tracking.tracked",
    "plugins",
    "fields",
    "errors",
)
"""Modules and packages of ``rsc_mlflow`` whose public names have a page, in the order of the navigation."""
PAGE_OPTIONS: dict[str, dict[str, object]] = {
    "unlearning.methods": {"show_submodules": True, "filters": ["!^_", "!Config$"]},
    "attacks.methods": {"show_submodules": True},
    "analysis": {"filters": ["!^_", "!^SETTINGS$"]},
}
"""Options of mkdocstrings for single pages: the modules of two packages, without configs and a long constant."""
API_INDEX = "reference/api/index.md"
GROUPS = {
    "Start": ("quickstart", "main", "serve"),
    "Train": ("train_classifier",),
    "Unlearn": (
        "unlearn",
        "exact_retraining",
        "incremental_retraining",
        "group_influence",
        "relabel_finetuning",
        "gradient_difference",
    ),
    "Attack": ("attack", "mem_inference"),
    "Inspect models, and theory": ("score_model", "visualize_weights", "occlusion", "theory"),
    "Sweeps, reports and disk space": ("sweep", "report", "disk"),
}
"""Headings of the page of entry points, and the commands below each."""
SHARED: dict[type[Options], str] = {
    MembershipOptions: "mem_inference",
    TrainOptions: "train_classifier",
    UnlearnOptions: "unlearn",
}
"""Options that several commands have → the command whose section lists them; subclasses first."""
SECTIONS = {"tags": "Tags", "metrics": "Metrics", "artifacts": "Artifacts"}
"""Comment in ``schema.py`` that begins a section → its heading."""


def reference_pages() -> dict[str, str]:
    """Return the Markdown of each generated page, by its path below docs/."""
    pages = {"reference/entry_points.md": entry_points_page(), "reference/names.md": names_page()}
    return pages | {API_INDEX: api_index()} | {f"reference/api/{name}.md": api_page(name) for name in API}


def api_page(name: str) -> str:
    """Return the page from which mkdocstrings makes the documentation of a module or package."""
    options = f"    options: {json.dumps(PAGE_OPTIONS[name])}\n" if name in PAGE_OPTIONS else ""
    return f"# `rsc_mlflow.{name}`\n\n::: rsc_mlflow.{name}\n{options}"


def api_index() -> str:
    """Return the list of documented modules, each with the first sentence of its docstring."""
    rows = [f"| [`rsc_mlflow.{name}`]({name}.md) | {_escape(_purpose(name))} |" for name in API]
    intro = "Start with `rsc_mlflow.api`. The guide [Work from Python](../../python.md) has examples."
    return "\n".join([f"# Python API\n\n{intro}\n", "| module | content |", "| --- | --- |", *rows, ""])


def _purpose(name: str) -> str:
    path = ROOT / "rsc_mlflow" / name.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    documented = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return documented.split("\n\n")[0]


def entry_points_page() -> str:
    """Return the page with every command, all its options and the shipped grids."""
    intro = (
        "# Entry points\n\n"
        "Run a command with `rsc NAME --option value` or `python -m entry_points NAME --option value`. "
        "`rsc NAME --help` prints its options. "
        f"All commands except {_list(sorted(set(commands()) - set(programs())))} are entry points of the MLproject "
        "file and can also be run with `mlflow run . --env-manager=local -e NAME -P option=value`.\n\n"
        "A command exits with status 0 (success), 2 (invalid input; standard error has one line, `error: …`) "
        "or 1 (any other error).\n\n"
        "[Datasets](../datasets.md) and [models](../models.md) explain the names of datasets and models, "
        "[training](../training.md) the training options.\n\n"
    )
    known = commands()
    groups = [
        f"## {heading}\n\n" + "\n\n".join(_command(name, known[name]) for name in names)
        for heading, names in GROUPS.items()
    ]
    grids = "\n".join(f"- `{name}`" for name in shipped_grids())
    return intro + "\n\n".join(groups) + f"\n\n## Shipped grids\n\nValues of `rsc sweep --grid`:\n\n{grids}\n"


def _command(name: str, one: ExperimentSpec | Generic | Local) -> str:
    """Return a command's section: its summary, its own options, and a link to those that it shares with others."""
    parts, rows = [f"### {name}", _escape(one.summary)], []
    if isinstance(one, Generic):
        options_class = one.shared
        rows = [f"| `method` | Method to run. | required | one of: {', '.join(one.names())} |"]
        parts += [_details(one.names()[0]), f"`rsc {name} --method NAME --help` prints the options of a method."]
    else:
        options_class = one.options_class
    base = next((base for base, section in SHARED.items() if issubclass(options_class, base) and section != name), None)
    shared = set(map(_row, option_fields(base))) if base else set()
    rows += [row for row in map(_row, option_fields(options_class)) if row not in shared]
    if rows:
        parts.append("\n".join(["| option | meaning | default | accepts |", "| --- | --- | --- | --- |", *rows]))
    if base:
        link = f"[`{SHARED[base]}`](#{SHARED[base]})"
        parts.append(f"{'All other' if rows else 'All'} options are those of {link}.")
    return "\n\n".join(parts)


def _details(name: str) -> str:
    return _escape(all_experiments()[name].details)


def _row(field: Field) -> str:
    """Return an option's row of the table."""
    accepted = field.metadata["parse"].accepted
    accepted = "text" if accepted == text().accepted else _escape(accepted)
    default = "required" if field.default is dataclasses.MISSING else f"`{param_text(field.default)}`"
    return f"| `{field.name}` | {_escape(help_of(field))} | {default} | {accepted} |"


def _list(names: list[str]) -> str:
    *first, last = (f"`{name}`" for name in names)
    return f"{', '.join(first)} and {last}"


def names_page() -> str:
    """Return the page of tags, metrics and artifacts, from ``schema.py``."""
    intro = (
        "Names of what runs store. The constants are those of `rsc_mlflow.tracking.schema`. "
        "[Runs](../tracking.md) describes when each is logged, and the parameters. "
        "The `step` of a metric is the epoch, from 1, unless stated otherwise."
    )
    parts = [f"# Tags, metrics and artifacts\n\n{intro}\n"]
    for heading, rows in schema_names().items():
        parts.append(f"\n## {heading}\n\n| name | meaning | constant |\n| --- | --- | --- |\n")
        parts += [f"| `{value}` | {_escape(text)} | `{constant}` |\n" for constant, value, text in rows]
        if heading == "Metrics":
            measures = {**schema.ATTACK_MEASURES, "auc_class_{k}": "The AUC over the images of true class k."}
            parts += [f"| `{schema.attack('{attack}', name)}` | {text} | |\n" for name, text in measures.items()]
    return "".join(parts)


def schema_names() -> dict[str, list[tuple[str, str, str]]]:
    """Return for each heading the constants of that section: name, value and documentation."""
    source = Path(schema.__file__).read_text(encoding="utf-8")
    starts = {match.start(): match[1] for match in re.finditer(r"^# ---- (.+)$", source, re.MULTILINE)}
    lines = {source.count("\n", 0, start) + 1: SECTIONS.get(title) for start, title in starts.items()}
    found: dict[str, list[tuple[str, str, str]]] = {heading: [] for heading in SECTIONS.values()}
    for line, constant, value, meaning in _constants(ast.parse(source).body):
        before = [start for start in lines if start < line]
        heading = lines[max(before)] if before else None
        if heading is not None:
            found[heading].append((constant, value, meaning))
    return found


def _constants(body: list[ast.stmt]) -> Iterator[tuple[int, str, str, str]]:
    """Yield line, name, value and documentation of each public text constant."""
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
    """Return the text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`").replace("<", "&lt;")
