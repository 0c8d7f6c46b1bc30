"""``python -m benchmarks screenshots``: pictures of the dashboards' pages, of a given store or of made-up runs."""

import logging
import tempfile
import threading
import time
from pathlib import Path

import click
from mlflow import MlflowClient
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.support.ui import WebDriverWait
from werkzeug.serving import make_server

from benchmarks.browser import chromium, resize
from benchmarks.filling import fill_store
from dashboards.__main__ import build_server
from dashboards.pages import PAGES

DRAWN = """
const plots = [...document.querySelectorAll('.plot')], grids = [...document.querySelectorAll('.grid')];
return document.querySelector('#page h1') && !document.querySelector('#loading')
  && plots.every(p => p.querySelector('.js-plotly-plot .main-svg'))
  && grids.every(g => g.querySelector('.ag-row') || g.querySelector('.ag-overlay-no-rows-center'));
"""
"""Script that returns whether a page with its figures and tables is drawn."""
CONTROLS = """
const shown = [...document.querySelectorAll('.control')].filter(c => !c.closest('details:not([open])'));
return shown.every(c => c.querySelector('button, input'));
"""
"""Script that returns whether the page's controls are drawn, which Dash loads separately."""


def wait_drawn(driver: webdriver.Chrome, seconds: float = 180) -> None:
    """Wait until the page and all its figures are drawn."""
    try:
        WebDriverWait(driver, seconds).until(lambda d: d.execute_script(DRAWN) and d.execute_script(CONTROLS))
    except TimeoutException:
        click.echo("note: the page was not drawn in time", err=True)
    time.sleep(0.7)


def shoot(driver: webdriver.Chrome, address: str, path: Path, width: int, height: int | None = None) -> None:
    """Save a picture of a page; without a height, of the whole page."""
    resize(driver, width, height or 900)
    driver.get(address)
    wait_drawn(driver)
    if height is None:
        whole = int(driver.execute_script("return document.documentElement.scrollHeight"))
        resize(driver, width, min(whole + 10, 8000))
        time.sleep(0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    driver.save_screenshot(str(path))


@click.command()
@click.option("--tracking_uri", default="", help="Store to show; default: 1,500 made-up runs.")
@click.option("--out", default="docs/images", type=click.Path(path_type=Path), help="Folder of the PNG files.")
@click.option("--every/--readme", default=False, help="Every page in both themes and widths, or the README's two.")
@click.option("--only", default="", help="Comma list of page names (with --every).")
def main(tracking_uri: str, out: Path, every: bool, only: str) -> None:
    """Take pictures of the dashboards with headless Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        if not tracking_uri:
            tracking_uri = f"sqlite:///{folder}/made-up.db"
            fill_store(tracking_uri, 1500, artifacts=Path(folder, "files").as_uri())
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        server = make_server("127.0.0.1", 0, build_server(tracking_uri, "http://127.0.0.1:5000"), threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/"
        with chromium() as driver:
            if every:
                _every(driver, base, out, [n for n in only.split(",") if n], _some_runs(tracking_uri))
            else:
                _readme(driver, base, out)
        server.shutdown()


def _some_runs(tracking_uri: str) -> str:
    """Return the newest three finished training runs, in the form of the address of the page Compare."""
    client = MlflowClient(tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = "tags.rsc.kind = 'train' and attributes.status = 'FINISHED'"
    return "".join(f"&run={run.info.run_id}" for run in client.search_runs(ids, wanted, max_results=3))


def _every(driver: webdriver.Chrome, base: str, out: Path, only: list[str], runs: str) -> None:
    for page in PAGES:
        name = page.path or "overview"
        if only and name not in only:
            continue
        for theme in ("light", "dark"):
            for width in (1440, 390):
                address = f"{base}{page.path}?theme={theme}{runs if name == 'compare' else ''}"
                shoot(driver, address, out / f"{name}-{theme}-{width}.png", width)
                print(out / f"{name}-{theme}-{width}.png")


def _readme(driver: webdriver.Chrome, base: str, out: Path) -> None:
    shoot(driver, f"{base}scores?theme=light", out / "scores.png", 1440, 900)
    shoot(driver, f"{base}unlearning?theme=dark", out / "unlearning.png", 1440, 900)
    print(out / "scores.png", out / "unlearning.png")


if __name__ == "__main__":
    main()
