"""Mutation check, ``python -m benchmarks mutants``: do the fast tests notice mistakes?  mutmut on a sample of mutants.

A mutant is the code with one small change: another operator, constant, argument or name.  It is killed if a test fails.
mutmut works on a copy of the project in ``.mutants/PACKAGE``; ``cd`` there and ``mutmut show NAME`` prints a survivor.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.measuring import print_table

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".mutants"
COPIED = ("benchmarks", "dashboards", "docs", "docs_build", "entry_points", "grids", "results", "rsc_mlflow", "tests")
CONFIG = """[mutmut]
source_paths=rsc_mlflow
only_mutate=
    {sources}
do_not_mutate_patterns=
    raise \\w+
    ^\\s*f?"
also_copy=
    {copied}
    MLproject
pytest_add_cli_args=
    -m
    not integration and not real
pytest_add_cli_args_test_selection=
    {tests}
"""
"""Messages of errors are not mutated: the tests ask for their essential words only."""


@dataclass(frozen=True)
class Part:
    """What is mutated together, and the tests that must notice."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = {
    "data": Part(("rsc_mlflow/data/*",), ("tests/data",)),
    "training": Part(("rsc_mlflow/training/*",), ("tests/training",)),
    "scoring": Part(("rsc_mlflow/scoring/*",), ("tests/scoring",)),
    "unlearning": Part(("rsc_mlflow/unlearning/*",), ("tests/unlearning",)),
    "attacks": Part(("rsc_mlflow/attacks/*",), ("tests/attacks",)),
    "statistics": Part(
        ("rsc_mlflow/statistics.py", "rsc_mlflow/replication.py"),
        ("tests/test_statistics.py", "tests/test_replication.py"),
    ),
    "aggregation": Part(("rsc_mlflow/analysis/*",), ("tests/test_analysis.py", "tests/test_aggregation.py")),
}


@click.command()
@click.argument("packages", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--sample", default=50, show_default=True, help="Mutants of each package, chosen at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of the choice.")
@click.option("--processes", default=2, show_default=True, help="Mutants tested at the same time.")
def main(packages: tuple[str, ...], sample: int, seed: int, processes: int) -> None:
    """Share of mutants that the fast tests kill, by package, and the names of the survivors."""
    rows, survivors = [], []
    for name in packages or PARTS:
        found = tested(name, sample, seed, processes)
        counts = Counter(found.values())
        killed = counts["killed"] + counts["timeout"]
        rows.append(
            [name, str(len(found)), str(killed), str(len(found) - killed), f"{killed / max(1, len(found)):.0%}"]
        )
        survivors += [f"{mutant} ({status})" for mutant, status in found.items() if status not in ("killed", "timeout")]
    print_table(["package", "mutants tried", "killed", "not killed", "killed, share"], rows)
    print("\n".join(survivors))


def tested(name: str, sample: int, seed: int, processes: int) -> dict[str, str]:
    """Mutant → what became of it, for the sampled mutants of a package."""
    folder = WORK / name
    _copy(PARTS[name], folder)
    _mutmut(folder, processes, "none")  # makes the mutants, and finds out which test runs which function
    every = sorted(statuses(folder))
    chosen = sorted(random.Random(seed).sample(every, min(sample, len(every))))
    _mutmut(folder, processes, *chosen)
    found = statuses(folder)
    return {mutant: found[mutant] for mutant in chosen}


def statuses(folder: Path) -> dict[str, str]:
    """Mutant → its status in mutmut's records."""
    from mutmut.stats import status_by_exit_code

    found: dict[str, str] = {}
    for path in (folder / "mutants").rglob("*.meta"):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        found |= {mutant: status_by_exit_code[code] for mutant, code in codes.items()}
    return found


def _copy(part: Part, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("MLproject", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    copied = "\n    ".join(name for name in COPIED if name not in ("rsc_mlflow", "tests"))
    text = CONFIG.format(sources="\n    ".join(part.sources), tests="\n    ".join(part.tests), copied=copied)
    (folder / "setup.cfg").write_text(text, encoding="utf-8")


def _mutmut(folder: Path, processes: int, *mutants: str) -> None:
    """Run mutmut; what it prints goes to a file, because it ends with an error where no mutant has such a name."""
    words = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes), *mutants]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (folder / "mutmut.log").open("a", encoding="utf-8") as log:
        subprocess.run(words, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
