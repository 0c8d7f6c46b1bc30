"""A real Chromium on a real server: pages, filters, addresses, downloads, and the way from a point to its run."""

import ast
import csv
import io
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest
from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.browser import asked, chromium, found, resize
from benchmarks.screenshots import DRAWN
from dashboards.data import Filters
from dashboards.pages import PAGES
from dashboards.report import report_html
from dashboards.repository import RunRepository
from dashboards.tables import PAGE_ROWS, digits
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.experiments import VIEW, VIEW_STATE, experiment_description
from rsc_mlflow.tracking.frame import RunStore
from tests.mlflow_server import MlflowServer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(found() is None, reason="needs Debian's chromium and chromium-driver"),
]
TIMEOUT_SECONDS = 180


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[webdriver.Chrome]:
    with chromium(downloads, network=True) as driver:
        resize(driver, 1440, 900)
        yield driver


@pytest.fixture
def at(browser: webdriver.Chrome, dashboards_server: MlflowServer) -> Callable[[str], webdriver.Chrome]:
    """Opens an address below the dashboards and waits until it is drawn."""

    def go(path: str) -> webdriver.Chrome:
        browser.get(f"{dashboards_server.uri}/dashboards/{path}")
        _until(browser, DRAWN)
        return browser

    return go


def _until(browser: webdriver.Chrome, script: str, *arguments: int) -> Any:
    return WebDriverWait(browser, TIMEOUT_SECONDS, 0.2).until(lambda driver: driver.execute_script(script, *arguments))


def _traces(browser: webdriver.Chrome, panel: str, plot: int = 0) -> list[dict[str, Any]]:
    """Name, x, y and links of what plotly draws."""
    script = """
      const box = document.querySelectorAll(`#panel-${arguments[0]} .js-plotly-plot`)[arguments[1]];
      return box._fullData.filter(t => t.visible === true && t.mode !== 'none').map(
        t => ({name: t.name, x: Array.from(t.x), y: Array.from(t.y), links: Array.from(t.customdata || [])}));
    """
    return list(browser.execute_script(script, panel, plot))


@pytest.mark.parametrize("page", PAGES, ids=[page.path or "overview" for page in PAGES])
def test_every_page_opens_without_an_error_and_asks_its_own_server_alone(
    at: Callable[[str], webdriver.Chrome], dashboards_server: MlflowServer, page: Any
) -> None:
    browser = at(page.path)
    _until(browser, f"return document.title === {json.dumps(f'{page.title} · Rare spurious correlations')}")
    shown = browser.execute_script("return [document.querySelector('h1').innerText, document.body.innerText]")
    assert shown[0] == page.title
    assert "could not be drawn" not in shown[1]
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
    addresses = asked(browser)
    assert f"{dashboards_server.uri}/dashboards/{page.path}" in addresses
    assert [address for address in addresses if not address.startswith(f"{dashboards_server.uri}/dashboards/")] == []


def test_the_report_file_draws_offline_and_asks_for_nothing(
    browser: webdriver.Chrome, dashboards_server: MlflowServer, tmp_path: Path
) -> None:
    store = RunStore(dashboards_server.backend)
    store.refresh()
    repository = RunRepository(store, Details(lambda: store.client), ui=f"{dashboards_server.uri}/")
    file = tmp_path / "report.html"
    file.write_text(report_html(repository, repository.snapshot(), Filters(), "Report", "about"), encoding="utf-8")
    browser.get("about:blank")
    browser.get_log("browser")
    asked(browser)
    browser.get(file.as_uri())
    for page in PAGES:
        if page.path != "compare":
            name = page.path or "overview"
            browser.execute_script(f"document.querySelector('#{name} .figure').scrollIntoView()")
            _until(browser, f"return document.querySelector('#{name} .figure .main-svg')")
    paper = "return document.querySelector('.figure .main-svg').style.background"
    before = browser.execute_script(paper)
    browser.find_element(By.ID, "theme-button").click()
    assert browser.execute_script(paper) != before
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert asked(browser) == [file.as_uri()]


def test_a_phone_sees_whole_names_and_no_sideways_scrolling(
    at: Callable[[str], webdriver.Chrome], browser: webdriver.Chrome, dashboards_server: MlflowServer
) -> None:
    resize(browser, 390, 844)
    try:
        at("unlearning")
        wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
        client = MlflowClient(dashboards_server.uri)
        named = client.search_runs(["1"], "attributes.run_name LIKE 'incremental_retraining %'", max_results=2)
        assert min(len(run.info.run_name) for run in named) >= 40  # fills a line, and the end of its id takes another
        at(f"compare?{'&'.join(f'run={run.info.run_id}' for run in named)}")
        ends = "return [...document.querySelectorAll('.legend .series')].map(one => one.getBoundingClientRect().right)"
        assert 0 < max(browser.execute_script(ends)) <= 390
    finally:
        resize(browser, 1440, 900)


def test_a_figures_data_are_those_of_the_query_api(
    at: Callable[[str], webdriver.Chrome], dashboards_server: MlflowServer
) -> None:
    browser = at("scores?facet=none&family=mnist&optimizer=sgd")
    trace = next(trace for trace in _traces(browser, "curves") if trace["name"] == "R3")
    client = MlflowClient(dashboards_server.uri)
    place = trace["x"].index(2)  # ten examples on the symlog axis
    runs = [client.get_run(link.split(":")[1]) for link in trace["links"][place].split(",")]
    held = ("pattern", "n_spurious", "dataset_family", "optimizer", "architecture", "target_class", "weight_decay")
    recipe = {name: runs[0].data.params[name] for name in held}
    assert recipe["pattern"] == "v20"
    assert recipe["n_spurious"] == "10"
    wanted = " and ".join(f"params.{name} = '{value}'" for name, value in recipe.items())
    wanted += " and tags.rsc.kind = 'train' and attributes.status = 'FINISHED'"
    others = {name: runs[0].data.params[name] for name in ("input_noise", "grad_clip")}
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    newest: dict[str, Any] = {}
    for run in client.search_runs(ids, wanted, max_results=1000):
        if all(run.data.params[name] == value for name, value in others.items()):
            newest.setdefault(run.data.tags["rsc.fingerprint"], run)
    seeds: dict[str, list[float]] = {}
    for run in newest.values():
        seeds.setdefault(run.data.params["random_seed"], []).append(run.data.metrics["spurious/score"])
    expected = sum(sum(values) / len(values) for values in seeds.values()) / len(seeds)
    assert trace["y"][place] == pytest.approx(expected)
    assert {run.info.run_id for run in runs} == {run.info.run_id for run in newest.values()}


def _choose(browser: webdriver.Chrome, control: str, text: str) -> None:
    """Opens a control's list and takes an entry, as a person does."""
    script = """
      const id = arguments[0];
      return [...document.querySelectorAll('button.dash-dropdown')].find(e => JSON.parse(e.id).name === id);
    """
    browser.execute_script(script, control).click()
    entry = f"//label[@role='option'][.//span[normalize-space()='{text}']]"
    WebDriverWait(browser, TIMEOUT_SECONDS).until(lambda d: d.find_elements(By.XPATH, entry))
    browser.find_elements(By.XPATH, entry)[-1].click()


def test_a_filter_goes_into_the_address_and_the_address_brings_it_back(at: Callable[[str], webdriver.Chrome]) -> None:
    browser = at("scores")
    before = len(browser.find_elements(By.CSS_SELECTOR, "#panel-curves .plot"))
    _choose(browser, "family", "mnist")
    _until(browser, "return location.search.includes('family=mnist')")
    _until(browser, "return document.querySelectorAll('#panel-curves .plot').length === 1")
    assert before > 1
    browser.refresh()
    _until(browser, DRAWN)
    headings = [h.text for h in browser.find_elements(By.CSS_SELECTOR, "#panel-curves h3")]
    assert headings == ["mnist"]
    browser.find_element(By.LINK_TEXT, "Factors").click()
    _until(browser, "return location.pathname.endsWith('/factors') && location.search === '?family=mnist'")


def test_a_bad_filter_says_so_and_the_page_comes_back(at: Callable[[str], webdriver.Chrome]) -> None:
    browser = at("scores?filter=params.x%20%3D")
    assert "Invalid MLflow filter" in browser.find_element(By.ID, "bad-filter").text
    browser.find_element(By.ID, "reset").click()
    _until(browser, "return document.querySelectorAll('.plot').length > 1")
    assert browser.execute_script("return location.search") == ""


CLICK = """
const box = document.querySelector('#panel-curves .js-plotly-plot');
const marks = [...box.querySelectorAll('.scatterlayer .trace')].flatMap(trace =>
  [...trace.querySelectorAll('.points path')].map(path => {
    const r = path.getBoundingClientRect(), name = trace.__data__[0].trace.name;
    return {x: r.x + r.width / 2, y: r.y + r.height / 2, links: path.__data__.data, name: name};
  }));
const room = mark => Math.min(...marks.filter(m => m !== mark).map(m => Math.hypot(m.x - mark.x, m.y - mark.y)));
const wanted = marks.filter(m => m.links && m.name.endsWith(', single seeds') === arguments[0]);
return wanted.reduce((a, b) => room(b) > room(a) ? b : a);
"""
"""The mean or the mark of a single seed that stands farthest from all others: where it is and what it links to."""


@pytest.mark.parametrize("single", [False, True], ids=["mean", "single-seed"])
def test_a_point_leads_to_its_run_in_mlflows_ui(
    at: Callable[[str], webdriver.Chrome], dashboards_server: MlflowServer, single: bool
) -> None:
    browser = at("scores?facet=none&family=mnist")
    browser.execute_script("document.querySelector('#panel-curves .plots').scrollIntoView({block: 'center'})")

    def picked(driver: webdriver.Chrome) -> bool:
        """Clicks the point where it is now (a figure that still settles moves it) and looks whether it was taken."""
        x, y = map(driver.execute_script(CLICK, single).get, ("x", "y"))
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **pressed})
            time.sleep(0.3)
        time.sleep(2)
        return bool(driver.find_elements(By.CSS_SELECTOR, ".picked a[target]"))

    WebDriverWait(browser, TIMEOUT_SECONDS, 2).until(picked)
    links = browser.find_elements(By.CSS_SELECTOR, ".picked a[target]")
    behind = {link.split(":")[1] for link in browser.execute_script(CLICK, single)["links"].split(",")}
    assert {(link.get_attribute("href") or "").rsplit("/", 1)[1] for link in links} == behind
    name, address = links[0].text, links[0].get_attribute("href")
    assert address
    assert address.startswith(f"{dashboards_server.uri}/#/experiments/1/runs/")
    run = MlflowClient(dashboards_server.uri).get_run(address.rsplit("/", 1)[1])
    assert run.info.run_name == name
    browser.get(address)
    _until(browser, f"return document.body.innerText.includes({json.dumps(name)})")


def test_mlflows_page_of_an_experiment_links_to_its_dashboards(
    browser: webdriver.Chrome, dashboards_server: MlflowServer
) -> None:
    client = MlflowClient(dashboards_server.uri)
    client.set_experiment_tag("1", schema.DESCRIPTION, experiment_description("made-up", "1"))
    browser.get("about:blank")  # from another page of MLflow's it would be no new load, and show what it knew before
    browser.get(f"{dashboards_server.uri}/#/experiments/1/runs")
    link = "a[href*='dashboards/?experiment=made-up']"
    _until(browser, f'return document.querySelector("{link}")')
    address = browser.find_element(By.CSS_SELECTOR, link).get_attribute("href")
    assert address == f"{dashboards_server.uri}/dashboards/?experiment=made-up"
    client.set_experiment_tag("1", VIEW, VIEW_STATE)
    view = browser.find_element(By.CSS_SELECTOR, "a[href*='viewStateShareKey=rsc']").get_attribute("href")
    browser.get("about:blank")
    browser.get(str(view))
    heads = "[...document.querySelectorAll('.ag-header-cell')].map(cell => cell.getAttribute('col-id'))"
    _until(browser, f"return {heads}.some(name => name && name.includes('spurious/score'))")


def test_the_csv_is_the_figures_data(at: Callable[[str], webdriver.Chrome], downloads: Path) -> None:
    browser = at("scores?facet=none&family=mnist")
    drawn = {(t["name"], round(y, 9)) for t in _traces(browser, "curves") for y in t["y"]}
    browser.find_element(By.CSS_SELECTOR, "#panel-curves a.csv").click()
    file = downloads / "scores-curves.csv"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    means = {(row["paper"], round(float(row["mean"]), 9)) for row in rows}
    seeds = {(f"{row['paper']}, single seeds", round(y, 9)) for row in rows for y in ast.literal_eval(row["each"])}
    assert seeds
    assert means | seeds == drawn


@pytest.mark.parametrize("kind", ["PNG", "SVG"])
def test_a_figure_is_saved_as_an_image(at: Callable[[str], webdriver.Chrome], downloads: Path, kind: str) -> None:
    browser = at("mitigation")
    script = """
      const panel = document.querySelector('#panel-weight_decay');
      panel.querySelector('.save summary').click();
      [...panel.querySelectorAll('.save button')].find(button => button.textContent === arguments[0]).click();
    """
    browser.execute_script(script, kind)  # at once: a tick may draw the page anew
    file = downloads / f"weight_decay-figure.{kind.lower()}"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert file.read_bytes()[:4] in (b"\x89PNG", b"<svg")


def test_a_legend_hides_a_pattern_in_every_figure_and_a_button_shows_each_recipe(
    at: Callable[[str], webdriver.Chrome],
) -> None:
    browser = at("scores")
    shown = """
      const plots = [...document.querySelectorAll('#panel-curves .js-plotly-plot')];
      return plots.length > 1 && plots.map(p => p._fullData.filter(t => t.name === 'R3' && t.visible === true).length);
    """
    before = browser.execute_script(shown)
    assert all(before)
    legends = browser.find_elements(By.CSS_SELECTOR, "#panel-curves .series[data-name='R3']")
    assert len(legends) == 1
    for wanted in ([0] * len(before), before):
        browser.execute_script("document.querySelector(`#panel-curves .series[data-name='R3']`).click()")
        _until(browser, f"const shown = () => {{{shown}}}; return String(shown()) === '{','.join(map(str, wanted))}'")
    button = "document.querySelector('#panel-curves .recipes')"
    more = f"document.querySelectorAll('#panel-curves .plot').length > {len(before)}"
    for search, words in (("?recipes=each", "Only the most common recipe"), ("", "One figure per recipe")):
        browser.execute_script(f"{button}.click()")
        drawn = f"{button}?.innerText === '{words}' && {more if search else f'!({more})'}"
        _until(browser, f"return location.search === '{search}' && {drawn}")


def test_the_theme_is_switched_and_kept(at: Callable[[str], webdriver.Chrome]) -> None:
    browser = at("factors?theme=light")
    paper = "return document.querySelector('.js-plotly-plot')._fullLayout.paper_bgcolor"
    assert browser.execute_script(paper) == "#ffffff"
    browser.find_element(By.ID, "theme-button").click()
    _until(browser, "return document.querySelector('.js-plotly-plot')._fullLayout.paper_bgcolor === '#161b22'")
    at("factors")
    assert browser.execute_script(paper) == "#161b22"
    at("factors?theme=light")


def test_a_new_run_appears_by_itself(at: Callable[[str], webdriver.Chrome], dashboards_server: MlflowServer) -> None:
    browser = at("")
    client = MlflowClient(dashboards_server.uri)
    run = client.create_run("0", run_name="appeared by itself", tags={"rsc.kind": "train"})
    client.set_terminated(run.info.run_id)
    _until(browser, "return document.body.innerText.includes('appeared by itself')")


def test_names_are_shown_as_text(at: Callable[[str], webdriver.Chrome], dashboards_server: MlflowServer) -> None:
    client = MlflowClient(dashboards_server.uri)
    evil = '<img src=x onerror="window.broken = true">'
    run = client.create_run("0", run_name=evil, tags={"rsc.kind": evil, "rsc.error": evil, "rsc.sweep": evil})
    client.set_terminated(run.info.run_id, "FAILED")
    browser = at("")
    _until(browser, f"return document.querySelector('#panel-failures').innerText.includes({json.dumps(evil)})")
    at(f"compare?run={run.info.run_id}")
    unharmed = "return window.broken === undefined && !document.querySelector('img[src=x]')"
    assert browser.execute_script(unharmed)


def _grid(panel: str) -> str:
    return f"#panel-{panel} .ag-root"


def _column(browser: webdriver.Chrome, panel: str, column: str) -> list[str]:
    """The texts of a grid's column, from top to bottom."""
    script = """
      const cells = [...document.querySelectorAll(`#panel-${arguments[0]} .ag-row [col-id="${arguments[1]}"]`)];
      return cells.sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y).map(c => c.innerText);
    """
    return list(browser.execute_script(script, panel, column))


def test_a_table_is_sorted_filtered_and_paged(at: Callable[[str], webdriver.Chrome]) -> None:
    browser = at("scores?facet=none&family=mnist")
    unfold = "const fold = document.querySelector('#panel-curves .data details'); if (!fold.open) "
    unfold += "fold.querySelector('summary').click();"
    _until(browser, f"{unfold} return document.querySelectorAll('{_grid('curves')} .ag-row').length > 5")
    heading = f"{_grid('curves')} .ag-header-cell[col-id='mean'] .ag-header-cell-text"
    for direction in ("ascending", "descending"):
        browser.execute_script("document.querySelector(arguments[0]).click()", heading)
        _until(browser, f"return document.querySelector(`#panel-curves [col-id='mean'][aria-sort='{direction}']`)")
        shown = [float(text) for text in _column(browser, "curves", "mean")]
        assert shown == sorted(shown, reverse=direction == "descending")
        assert len(shown) == PAGE_ROWS
    pages = browser.find_element(By.CSS_SELECTOR, "#panel-curves .ag-paging-row-summary-panel").text
    assert pages.startswith("1 to 15 of ")


def test_numbers_read_alike_in_the_browser_and_in_python(at: Callable[[str], webdriver.Chrome]) -> None:
    browser = at("")
    values = [0, 1, 1234567, 0.9, 0.90149, 12.345678, -0.00012344, 1234.5678, 999999.4, 3.2e-7, -4.5e12 - 0.5, 0.99996]
    script = "return arguments[0].map(value => window.dashAgGridFunctions.rscDigits({value: value}))"
    assert browser.execute_script(script, values) == [digits(value) for value in values]


def test_a_figure_for_paper_is_a_pdf_of_the_stated_size(
    at: Callable[[str], webdriver.Chrome], dashboards_server: MlflowServer
) -> None:
    browser = at("scores?facet=none&family=mnist")
    address = browser.find_element(By.CSS_SELECTOR, "#panel-curves a.pdf").get_attribute("href")
    assert address
    with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
        assert answer.headers["Content-Type"] == "application/pdf"
        file = pypdf.PdfReader(io.BytesIO(answer.read()))
    assert len(file.pages) == 1
    width, height = (float(side) * 2.54 / 72 for side in file.pages[0].mediabox[2:])  # points to centimeters
    assert (width, height) == (pytest.approx(8.5, abs=0.05), pytest.approx(6.0, abs=0.05))
    words = file.pages[0].extract_text()
    assert "spurious score" in words
    assert "R3" in words
