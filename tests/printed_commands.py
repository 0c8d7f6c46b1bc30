"""The commands that README, docs and pages print, and what is run of each where the whole would take too long."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlflow.cli import run as mlflow_run
from mlflow.projects._project_spec import load_project

from entry_points.commands import find_command

ROOT = Path(__file__).parents[1]
OURS = re.compile(r"(?:mlflow run \.|python -m entry_points\b)[^`\"\n]*")
"""A command of this project inside a line of text or code, up to the quote that ends it."""
SMALL = {"epochs": "1", "source_epochs": "1", "shadow_models": "2", "n_train": "500", "n_test": "500", "seeds": "2"}
SMALL |= {"gammas": "0.5", "ridges": "0,1", "noises": "0", "examples": "30", "steps": "3"}
SMALL |= {"curvature_examples": "50", "max_iterations": "5", "influences": "false", "attacks": "loss"}
"""Options that are set to this wherever a command has them."""
_FENCED = re.compile(r"^ *```(?:sh|bash)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_FAMILY = re.compile(r"mnist|fashion|cifar10")
_COUNT = re.compile(r"(v\d+)-\d+-")


def fenced(page: Path) -> Iterator[str]:
    """Every command of the page's shell blocks: one line each, without comments."""
    for block in _FENCED.findall(page.read_text(encoding="utf-8")):
        yield from shell_lines(block)


def shell_lines(block: str) -> Iterator[str]:
    """Every command of a shell block: one line each, without comments."""
    begun = ""
    for line in block.replace("\\\n", " ").splitlines():
        begun = f"{begun}\n{line}" if begun else line
        with suppress(ValueError):  # an open quotation, which the next line closes
            for command in begun.split(" && "):
                if words := shlex.split(command, comments=True):
                    yield shlex.join(words)
            begun = ""


def ours(file: Path) -> Iterator[str]:
    """Every command of this project that the file prints anywhere, in prose and in strings of programs too."""
    for found in OURS.findall(file.read_text(encoding="utf-8").replace("\\\n", " ")):
        yield found.split(", ")[0].split(" #")[0].split(" && ")[0].rstrip(" .,;)")


def called(command: str) -> tuple[str, list[str]]:
    """Entry point and arguments of a printed command; MLflow's own code reads those of ``mlflow run``."""
    words = shlex.split(command)
    if words[:2] == ["mlflow", "run"]:
        with mlflow_run.make_context("mlflow run", words[2:]) as context:
            given = dict(one.split("=", 1) for one in context.params["param_list"])
            entry_point = load_project(str(ROOT)).get_entry_point(context.params["entry_point"])
        words = shlex.split(entry_point.compute_command(given, None))
    module, *arguments = words[words.index("-m") + 1 :]
    return (arguments[0], arguments[1:]) if module == "entry_points" else (module.rpartition(".")[2], arguments)


def small(name: str, arguments: list[str]) -> list[str]:
    """The same command for an epoch on the embedded digits; a sweep only plans."""
    given = dict(zip((word.removeprefix("--") for word in arguments[::2]), arguments[1::2], strict=True))
    known = {option.name for option in find_command(given.get("method", name)).params}
    of_source = given.get("model_uri", "auto") != "auto" and "resume_run_id" not in known
    more = {key: value for key, value in SMALL.items() if key in known and not (of_source and key in _RECIPE)}
    if name == "sweep" and given.get("status", "false") == "false":
        more |= {"dry_run": "true", "executor": "local"}
        given.pop("ray_address", None)
    if "source_epochs" in known:  # its own epochs go on from there
        more["epochs"] = "2"
    given = {key: _on_digits(value) if key in ("dataset", "model_uri") else value for key, value in given.items()}
    return [word for key, value in (given | more).items() for word in (f"--{key}", value)]


_RECIPE = ("epochs", "source_epochs")
"""What a named source model has of its own."""


def _on_digits(value: str) -> str:
    """The dataset name or model URI with the embedded digits and five spurious examples in it."""
    return _COUNT.sub(r"\1-5-", _FAMILY.sub("digits", value))
