"""The MLproject file, made from the option classes: ``python -m entry_points.mlproject > MLproject``.

A test compares the file with what this prints, so that ``mlflow run`` and ``python -m entry_points.NAME``
never drift apart.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence

import yaml

from entry_points.commands import commands, programs
from entry_points.generic import Generic
from rsc_mlflow.fields import Field, option_fields, param_text

HEADER = """\
# Made by `python -m entry_points.mlproject`; a test keeps it in step with the option classes.
name: rsc

conda_env: conda.yaml

entry_points:
"""


def project() -> str:
    """Return the content of the MLproject file."""
    return HEADER + "".join(map(_section, programs()))


def _section(name: str) -> str:
    found = commands()[name]
    if isinstance(found, Generic):
        return _entry(name, ["# -P takes the options of the method as well"], ["method"], found.fields())
    every = option_fields(found.options_class)
    comments = []
    if inherited := [field.name for field in every if not field.metadata["declared"]]:
        # Declared, their "auto" would be stored as the run's parameter; mlflow run passes them on undeclared.
        comments = [f"# -P takes these as well; left out, they are the source model's: {', '.join(inherited)}"]
    return _entry(name, comments, [], [field for field in every if field.metadata["declared"]])


def _entry(name: str, comments: Sequence[str], required: Sequence[str], fields: Sequence[Field]) -> str:
    lines = [f"  {name}:", *(f"    {comment}" for comment in comments), "    parameters:"]
    lines += [f"      {one}: string" for one in required]
    lines += [f"      {_key(field.name)}: {_declared(field)}" for field in fields]
    arguments = "".join(f" --{one} {{{one}}}" for one in (*required, *(field.name for field in fields)))
    lines.append(f'    command: "python -m entry_points.{name}{arguments}"')
    return "\n".join(lines) + "\n"


def _declared(field: Field) -> str:
    if field.default is dataclasses.MISSING:
        return "string"
    return f"{{type: string, default: {json.dumps(param_text(field.default))}}}"


def _key(name: str) -> str:
    """Return the name as a YAML key, quoted if YAML would read another type (``yes`` is true)."""
    return name if yaml.safe_load(name) == name else json.dumps(name)


if __name__ == "__main__":
    sys.stdout.write(project())
