"""The examples of docs/extending.md, executed as written in a folder outside the project."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rsc_mlflow.tracking.query import condition, search

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^```(python|yaml|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = FENCED.findall((ROOT / "docs" / "extending.md").read_text())
TYPED = """
from entry_points.command import status
from entry_points.commands import find_command
for words in {typed}:
    print(status(find_command("train_classifier"), words.split()))
"""
pytestmark = pytest.mark.integration


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RSC_")}
    return subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env={**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder outside the project with the page's files; commands find the package as if it were installed."""
    outside = tmp_path / "mine"
    outside.mkdir()
    for _, text in BLOCKS:
        if name := re.match(r"# (\w+\.\w+)\n", text):
            (outside / name[1]).write_text(text)
    return outside


def commands() -> str:
    (script,) = (text for kind, text in BLOCKS if kind == "sh")
    return script


@pytest.mark.usefixtures("sqlite_store")
def test_the_page_runs_as_written(folder: Path) -> None:
    done = shell(commands(), folder)
    assert done.returncode == 0, done.stderr
    runs = search([condition("tags", "rsc.kind", "train"), condition("attributes", "status", "FINISHED")])
    cells = set(zip(runs["params.dataset_family"], runs["params.pattern"], runs["params.architecture"], strict=True))
    patterns = ("none", "logo", "fade")
    expected = {(f, p, a) for f in ("shapes", "stripes") for p in patterns for a in ("TinyNet", "MLP")}
    assert cells == expected
    assert set(runs["tags.rsc.plugins"]) == {"stripes 1.2, fading 0.1, tinynet 2.0"}
    assert len(runs) == 1 + 8 + 8, "the command's, 2 families × 2 models × 2 patterns, and 2 clean seeds of each model"
    assert runs["tags.rsc.fingerprint"].nunique() == len(runs)
    report = shell("python -m entry_points.report --output report.html", folder)
    assert report.returncode == 0, report.stderr
    html = (folder / "report.html").read_text()
    assert all(word in html for word in ("shapes", "stripes", "logo", "fade", "TinyNet"))


@pytest.mark.usefixtures("sqlite_store")
def test_names_are_listed_and_mistakes_are_one_line(folder: Path) -> None:
    before = commands().split("python -m")[0]
    mistakes = {
        "--dataset shape": "family 'shape'. Did you mean 'shapes'? Expected .*cifar10, .*stripes, shapes",
        "--dataset shapeslego-3-0-0": "Unknown pattern 'lego' in .* Did you mean 'logo'? Expected one of: v1, .*fade",
        "--dataset shapes --model ce-tor-TinyNett": "Unknown architecture 'TinyNett'. Did you mean 'TinyNet'?",
        "--dataset shapeslogo-41-0-0": "41 spurious examples of class 0: the training set has 40 examples",
    }
    listed = " ".join(shell(f"{before}python -m entry_points.train_classifier --help", folder).stdout.split())
    assert re.search(r"Families: cifar10, [\w, ]*stripes, shapes\. Patterns: v1, [\w, ]*fade, logo\.", listed)
    assert "Of plug-ins: TinyNet." in listed
    done = shell(f"{before}python - <<'END'\n{TYPED.format(typed=list(mistakes))}END", folder)
    assert done.stdout.splitlines() == ["2"] * len(mistakes)
    for line, words in zip(done.stderr.splitlines()[-len(mistakes) :], mistakes.values(), strict=True):
        pattern = re.escape(words).replace(r"\.\*", ".*")
        assert re.search(f"^error: .*{pattern}", line), line
