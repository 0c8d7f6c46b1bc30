"""Mutation check, ``python -m benchmarks mutants``: do the fast tests notice mistakes?  mutmut on a sample of mutants.

A mutant is the code with one small change: another operator, constant, argument or name.  It is killed if a test fails.
mutmut works on a copy of the project in ``.mutants/AREA`` and keeps its results there, so an interrupted check resumes:
mutants that were killed before are not tried again as long as their function stays the same.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from benchmarks.measuring import print_table

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".mutants"
EXPLAINED = Path(__file__).with_name("explained_mutants.yaml")
COPIED = ("benchmarks", "dashboards", "docs", "docs_build", "entry_points", "grids", "results", "rsc_mlflow", "tests")
CONFIG = """[mutmut]
source_paths=rsc_mlflow
debug=true
timeout_constant=20
only_mutate=
    {sources}
do_not_mutate_patterns=
    raise \\w+
    ^\\s*f?"
    Figure\\(figsize
also_copy=
    {copied}
    MLproject
pytest_add_cli_args=
    -m
    not integration and not real
pytest_add_cli_args_test_selection=
    {tests}
"""
"""Messages of errors and sizes of figures are not mutated: the tests ask only for the essential words of messages.

The timeout, 15 × (20 s + the time of the tests), is far above what a mutant that ends takes on a busy machine.
"""
KILLED, STOPPED = ("killed",), ("timeout", "segfault", "suspicious")
"""Statuses of mutants that made a test fail, and of those that hung or broke the test process."""
UNTRIED = "not checked"
LEAST = 0.9
"""Smallest share of the mutants that have an effect on a machine without a GPU that the tests of an area must kill."""
EQUIVALENT, GPU_ONLY = "none", "only on a GPU"
"""Effects in ``explained_mutants.yaml`` of mutants that do not count."""
HEADER = ["area", "mutants", "killed", "timeouts", "equivalent", "GPU only", "survived", "killed of the others"]


@dataclass(frozen=True)
class Area:
    """What is mutated together, and the tests that must notice."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = {
    "data": Area(
        ("rsc_mlflow/data/*",),
        ("tests/data", "tests/families", "tests/patterns", "tests/test_plugins.py", "tests/sweeps/test_estimate.py"),
    ),
    "training": Area(("rsc_mlflow/training/*",), ("tests/training",)),
    "scoring": Area(("rsc_mlflow/scoring/*",), ("tests/scoring",)),
    "unlearning": Area(("rsc_mlflow/unlearning/*",), ("tests/unlearning",)),
    "attacks": Area(("rsc_mlflow/attacks/*",), ("tests/attacks",)),
    "statistics": Area(
        ("rsc_mlflow/statistics.py", "rsc_mlflow/replication.py"),
        ("tests/test_statistics.py", "tests/test_replication.py"),
    ),
    "aggregation": Area(
        ("rsc_mlflow/analysis/*",),
        (
            "tests/test_analysis.py",
            "tests/test_aggregation.py",
            "tests/test_alike.py",
            "tests/dashboards/test_odd_runs.py",
            "tests/dashboards/test_points.py",
            "tests/dashboards/test_figures.py",
        ),
    ),
}


Change = tuple[str, str, str]
"""The function, its lines that a mutant changes, and the lines that replace them."""


@dataclass(frozen=True)
class Mutant:
    """A mutant that was tried: its name in mutmut, what became of it, and the changed lines.

    Attributes:
        name: mutmut's name, ``MODULE.x_FUNCTION__mutmut_NUMBER``.
        status: mutmut's word for the result.
        before: the lines of the function that the mutant changes, stripped; empty if the mutant was killed.
        after: the lines that replace them, stripped.
    """

    name: str
    status: str
    before: str = ""
    after: str = ""

    @property
    def change(self) -> Change:
        """Function, lines before, lines after."""
        return self.function, self.before, self.after

    @property
    def function(self) -> str:
        """``MODULE.FUNCTION``, or ``MODULE.CLASS.METHOD``."""
        module, _, mangled = self.name.rpartition("__mutmut_")[0].rpartition(".")
        return f"{module}.{re.sub('^xǁ|^x_', '', mangled).replace('ǁ', '.')}"


@click.command()
@click.argument("areas", nargs=-1, type=click.Choice(list(AREAS)))
@click.option("--sample", default=40, show_default=True, help="Mutants of each area, chosen at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of the choice.")
@click.option("--processes", default=1, show_default=True, help="Mutants tested at the same time.")
def main(areas: tuple[str, ...], sample: int, seed: int, processes: int) -> None:
    """Share of mutants that the fast tests kill, by area, and the changes that no test notices.

    Exit status 1 if the share of an area is below 90 %.
    """
    counts = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # mutmut ends with this process
    explained = explained_mutants()
    for area in areas or AREAS:
        tried = tried_mutants(area, sample, seed, processes)
        survivors = [mutant for mutant in tried if mutant.status not in KILLED + STOPPED]
        reasons = [explained.get(mutant.change, ("", "not explained yet")) for mutant in survivors]
        counts.append(Counts.of(area, tried, Counter(effect for effect, _ in reasons)))
        for mutant, (effect, reason) in zip(survivors, reasons, strict=True):
            if effect not in (EQUIVALENT, GPU_ONLY):
                print(f"\n{mutant.name}: {mutant.status}\n{_marked('-', mutant.before)}\n{_marked('+', mutant.after)}")
                print(f"reason: {reason}")
    print()
    print_table(HEADER, [one.cells() for one in counts])
    if low := [one.area for one in counts if one.share < LEAST]:
        raise click.ClickException(f"The tests kill less than {LEAST:.0%} of the mutants of: {', '.join(low)}.")


@dataclass(frozen=True)
class Counts:
    """How many mutants of an area the tests killed.

    Attributes:
        area: its name.
        tried: mutants in the sample.
        killed: those that made a test fail.
        stopped: those that hung or broke the test process.
        equivalent: survivors whose change has no effect.
        gpu_only: survivors whose change has an effect only on a GPU.
    """

    area: str
    tried: int
    killed: int
    stopped: int
    equivalent: int
    gpu_only: int

    @classmethod
    def of(cls, area: str, tried: Sequence[Mutant], effects: Mapping[str, int]) -> "Counts":
        """Count the mutants that were tried, and their survivors by effect."""
        counts = Counter(mutant.status for mutant in tried)
        killed, stopped = (sum(counts[status] for status in group) for group in (KILLED, STOPPED))
        return cls(area, len(tried), killed, stopped, effects.get(EQUIVALENT, 0), effects.get(GPU_ONLY, 0))

    @property
    def share(self) -> float:
        """Killed and stopped mutants as a share of those that have an effect on a machine without a GPU."""
        return (self.killed + self.stopped) / max(1, self.tried - self.equivalent - self.gpu_only)

    def cells(self) -> list[str]:
        """The row of :data:`HEADER`."""
        survived = self.tried - self.killed - self.stopped - self.equivalent - self.gpu_only
        numbers = (self.tried, self.killed, self.stopped, self.equivalent, self.gpu_only, survived)
        return [self.area, *map(str, numbers), f"{self.share:.0%}"]


def explained_mutants() -> dict[Change, tuple[str, str]]:
    """Return the changes in ``explained_mutants.yaml``, each with its effect and the reason why it survives."""
    entries = yaml.safe_load(EXPLAINED.read_text(encoding="utf-8"))
    return {(one["function"], one["before"], one["after"]): (one["effect"], one["reason"]) for one in entries}


def tried_mutants(area: str, sample: int, seed: int, processes: int) -> list[Mutant]:
    """Test the sampled mutants of an area that were not killed before; return the whole sample."""
    folder = WORK / area
    _copy(AREAS[area], folder)
    print(f"{area}: making mutants and finding the tests of each function; log: {folder / 'mutmut.log'}", flush=True)
    _run(folder, processes, ["none"])
    require((folder / "mutants" / "mutmut-stats.json").exists(), folder)
    every = statuses(folder)
    chosen = sorted(every, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())[:sample]
    left = [name for name in chosen if every[name] not in KILLED]
    print(f"{area}: {len(every):,} mutants, {len(chosen)} in the sample, {len(left)} to test", flush=True)
    if left:
        _forget(folder, left)
        _run(folder, processes, left)
    found = statuses(folder)
    require(all(found[name] != UNTRIED for name in chosen), folder)
    return [described(folder, name, found[name]) for name in sorted(chosen)]


def described(folder: Path, name: str, status: str) -> Mutant:
    """Return the mutant, with its change unless it was killed."""
    if status in KILLED + STOPPED:
        return Mutant(name, status)
    words = [sys.executable, "-m", "mutmut", "show", name]
    lines = subprocess.check_output(words, cwd=folder, text=True).partition("@@\n")[2].splitlines()
    before, after = ("\n".join(line[1:].strip() for line in lines if line[:1] == sign) for sign in "-+")
    return Mutant(name, status, before, after)


def statuses(folder: Path) -> dict[str, str]:
    """Mutant → its status in mutmut's records."""
    from mutmut.stats import status_by_exit_code

    found: dict[str, str] = {}
    for path in (folder / "mutants").rglob("*.meta"):
        if (folder / path.relative_to(folder / "mutants")).with_suffix("").exists():
            codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
            found |= {mutant: status_by_exit_code[code] for mutant, code in codes.items()}
    return found


def without_uncovered(source: str) -> str:
    """Return the source with ``# pragma: no cover`` in mutmut's words, so that what needs a GPU is not mutated."""
    blocks = re.sub("(:  # pragma: no) cover", r"\1 mutate block,", source)
    return blocks.replace("# pragma: no cover", "# pragma: no mutate,")


def _copy(area: Area, folder: Path) -> None:
    """Copy the project as it is now; mutmut's results stay, and its record of which test runs which function goes."""
    for name in COPIED:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / "mutants" / "tests", ignore_errors=True)
    (folder / "mutants").mkdir(exist_ok=True)  # Python ignores entries of PYTHONPATH that are missing when it starts
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    for path in (folder / "rsc_mlflow").rglob("*.py"):
        path.write_text(without_uncovered(path.read_text(encoding="utf-8")), encoding="utf-8")
    for name in ("MLproject", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    copied = "\n    ".join(name for name in COPIED if name not in ("rsc_mlflow", "tests"))
    text = CONFIG.format(sources="\n    ".join(area.sources), tests="\n    ".join(area.tests), copied=copied)
    (folder / "setup.cfg").write_text(text, encoding="utf-8")


def _run(folder: Path, processes: int, mutants: list[str]) -> None:
    """Run mutmut and print how far it is; it ends with an error if no mutant has such a name."""
    words = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes), *mutants]
    environment = os.environ | {"PYTHONPATH": str(folder / "mutants"), "OMP_NUM_THREADS": "1"}
    with (folder / "mutmut.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _watch(process, folder, mutants)
        finally:
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def require(finished: bool, folder: Path) -> None:
    """End with an error and the last lines of mutmut's log unless it finished."""
    if not finished:
        log = folder / "mutmut.log"
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise click.ClickException(
            f"{last}\n\nmutmut ended early, as it does if a test fails without any mutant. See {log}, and run again to "
            "resume."
        )


def _watch(process: subprocess.Popen[bytes], folder: Path, mutants: list[str]) -> None:
    """Wait for mutmut; print a line whenever more of the mutants have been tested."""
    before = 0
    while process.poll() is None:
        time.sleep(5)
        try:
            found = statuses(folder)
        except json.JSONDecodeError:  # mutmut is writing it
            continue
        results = Counter(found[name] for name in mutants if found.get(name, UNTRIED) != UNTRIED)
        if results.total() > before:
            before = results.total()
            counts = ", ".join(f"{count} {status}" for status, count in results.most_common())
            print(f"{folder.name}: {before} of {len(mutants)} tested: {counts}", flush=True)


def _forget(folder: Path, mutants: Iterable[str]) -> None:
    """Remove the results of mutants that are tested again."""
    for path in (folder / "mutants").rglob("*.meta"):
        record = json.loads(path.read_text(encoding="utf-8"))
        codes = record["exit_code_by_key"]
        record["exit_code_by_key"] = codes | dict.fromkeys(codes.keys() & set(mutants))
        path.write_text(json.dumps(record), encoding="utf-8")


def _marked(sign: str, lines: str) -> str:
    return "\n".join(f"{sign} {line}" for line in lines.splitlines())
