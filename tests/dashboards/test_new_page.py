"""A page of the dashboards is one file: put into a copy of the package, it is in the menu, the app and the report."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dashboards.pages import PAGES

ROOT = Path(__file__).parents[2]
NEW = """
import pandas as pd
from dashboards.panels import Page, Panel, View

def counts(view: View) -> Panel:
    table = view.every["kind"].value_counts().rename_axis("kind").reset_index(name="runs")
    return Panel("counts", "Runs of each kind", table=table, show_table=True)

PAGE = Page("kinds", "Kinds", "How many runs of each kind there are.", (counts,), place=45)
"""
PROGRAM = """
from dashboards.data import Filters
from dashboards.pages import PAGES
from dashboards.report import report_html
from rsc_mlflow.tracking.frame import Snapshot
from tests.dashboards.test_odd_runs import REPOSITORY
from dashboards.repository import VisibleRuns
from tests.dashboards.frames import made_up, view
runs = view(made_up(30)).every
page = report_html(REPOSITORY, VisibleRuns(runs, {"1": "x"}, Snapshot()), Filters(), "title", "about")
print([page.path for page in PAGES], "Runs of each kind" in page)
"""


def test_the_menu() -> None:
    paths = ["", "sweeps", "scores", "factors", "unlearning", "privacy", "mitigation", "weights", "compare"]
    assert [page.path for page in PAGES] == paths
    assert len({page.place for page in PAGES}) == len(paths)


def test_a_page_is_one_file(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dashboards", tmp_path / "dashboards")
    (tmp_path / "dashboards" / "pages" / "kinds.py").write_text(NEW)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    paths = ["", "sweeps", "scores", "factors", "unlearning", "kinds", "privacy", "mitigation", "weights", "compare"]
    assert done.stdout.splitlines()[-1] == f"{paths} True"
