"""The MLproject file, made from the option classes: ``python -m entry_points.mlproject > MLproject``.

A test compares the file with what this prints, so that ``mlflow run`` and ``python -m entry_points.NAME``
never drift apart.
"""

import dataclasses
import importlib
import json

import yaml

from entry_points.command import OptionsCommand
from rsc_mlflow.experiments.unlearning_options import INHERITED
from rsc_mlflow.tracking.values import param_text

ENTRY_POINTS = (
    "main",
    "train_classifier",
    "mem_inference",
    "incremental_retraining",
    "exact_retraining",
    "group_influence",
    "relabel_finetuning",
    "gradient_difference",
    "score_model",
    "visualize_weights",
    "occlusion",
    "theory",
    "sweep",
    "report",
)

HEADER = """\
# Made by `python -m entry_points.mlproject`; a test keeps it in step with the option classes.
name: rsc

conda_env: conda.yaml

entry_points:
"""


def entry_point(name: str) -> OptionsCommand:
    """The command of one entry point."""
    found: OptionsCommand = importlib.import_module(f"entry_points.{name}").cli
    return found


def project() -> str:
    """The whole MLproject file."""
    return HEADER + "".join(_section(name, entry_point(name)) for name in ENTRY_POINTS)


def _section(name: str, command: OptionsCommand) -> str:
    every = dataclasses.fields(command.options_class)
    fields = [field for field in every if not field.metadata.get(INHERITED)]
    lines = [f"  {name}:"]
    if inherited := [field.name for field in every if field.metadata.get(INHERITED)]:
        # Declared, their "auto" would be stored as the run's parameter; mlflow run passes them on undeclared.
        lines += [f"    # -P takes these as well; left out, they are the source model's: {', '.join(inherited)}"]
    lines.append("    parameters:")
    for field in fields:
        required = field.default is dataclasses.MISSING
        declared = "string" if required else f"{{type: string, default: {_quoted(field)}}}"
        lines.append(f"      {_key(field.name)}: {declared}")
    arguments = "".join(f" --{field.name} {{{field.name}}}" for field in fields)
    lines.append(f'    command: "python -m entry_points.{name}{arguments}"')
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    """The name as a YAML key: quoted where YAML would read something else (``yes`` is true)."""
    return name if yaml.safe_load(name) == name else json.dumps(name)


def _quoted(field: "dataclasses.Field[object]") -> str:
    return json.dumps(param_text(field.default))


if __name__ == "__main__":
    print(project(), end="")
