"""What strangers store, shown by a real server in a real Chromium: every name, tag and parameter is text."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.browser import chromium, found
from benchmarks.screenshots import DRAWN
from dashboards.pages import PAGES
from tests.mlflow_server import MlflowServer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(found() is None, reason="needs Debian's chromium and chromium-driver"),
]
TIMEOUT_SECONDS = 180
SCRIPT = "<script>window.broken = 1</script>"
IMAGE = '<img src=x onerror="window.broken = 2">'
LINK = '<a href="javascript:window.broken = 3">click</a>'
HARM = """
return [
  window.broken ?? null,
  [...document.querySelectorAll('script')].filter(s => s.textContent.includes('window.broken')).length,
  document.querySelectorAll('img[src=x]').length,
  [...document.querySelectorAll('a')].filter(a => /javascript:/i.test(a.href.baseVal ?? a.href)).length,
];
"""
"""What ran, and what became an element: nothing of it may be there."""


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server that was told no address, with hostile runs of every kind that pages tell apart."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = MlflowServer(folder, arguments=["--app-name", "rsc"], host=None)
    client = MlflowClient(server.backend)
    experiment = client.create_experiment(SCRIPT, artifact_location=(folder / "files").as_uri())
    for number, kind in enumerate(("train", "train", "unlearn", "attack", "sweep", SCRIPT)):
        store_run(client, experiment, number, kind)
    client.create_registered_model("rsc-mnist-MLP")
    run_id = client.search_runs([experiment])[0].info.run_id
    tags = {"dataset": IMAGE, "method": SCRIPT, "kind": LINK}
    client.create_model_version("rsc-mnist-MLP", f"runs:/{run_id}/model", run_id, tags)
    yield server.start()
    server.stop()


def store_run(client: MlflowClient, experiment: str, number: int, kind: str) -> None:
    tags = {
        "rsc.kind": kind,
        "rsc.method": IMAGE,
        "rsc.error": SCRIPT,
        "rsc.sweep": IMAGE,
        "rsc.fingerprint": f"{number}",
    }
    run = client.create_run(experiment, run_name=f"{SCRIPT} {IMAGE} {number}", tags=tags)
    params = {"dataset_family": SCRIPT, "architecture": IMAGE, "optimizer": LINK, "dataset": SCRIPT, "pattern": "v8"}
    params |= {"n_spurious": "3", "target_class": LINK, "random_seed": str(number), "dataset_seed": "0", "epochs": "3"}
    params |= dict.fromkeys(("weight_decay", "input_noise", "grad_clip"), "0")
    params |= {"n_parameters": "10", "note": f"{SCRIPT} {number}"}
    metrics = dict.fromkeys(("spurious/score", "test/accuracy", "spurious/pattern_norm", "train/loss"), 0.5)
    metrics |= dict.fromkeys(("attack/lira/auc", "attack/lira/spurious_tpr", "attack/lira/control_fpr"), 0.5)
    metrics |= dict.fromkeys(("gap/spurious/score", "before/spurious/score", "unlearn/seconds"), 0.5)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value + number / 10, 1, step) for key, value in metrics.items() for step in (1, 2, 3)],
        params=[Param(key, value) for key, value in params.items()],
    )
    for name in ("roc.json", "weight_map.json", "influences.json"):
        client.log_dict(run.info.run_id, {SCRIPT: {"fpr": [0.1, 1], "tpr": [0.2, 1]}, "maps": {IMAGE: [[0, 1]]}}, name)
    client.set_terminated(run.info.run_id, "FAILED" if number == 1 else "FINISHED")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


def shown(browser: webdriver.Chrome, server: MlflowServer, path: str) -> str:
    """The text of a page, once it is drawn and has shown to hold nothing but text."""
    browser.get(f"{server.uri}/dashboards/{path}")
    WebDriverWait(browser, TIMEOUT_SECONDS, 0.2).until(lambda driver: driver.execute_script(DRAWN))
    assert browser.execute_script(HARM) == [None, 0, 0, 0], path
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    text = str(browser.execute_script("return document.body.innerText"))
    assert "could not be drawn" not in text
    return text


@pytest.mark.parametrize("page", PAGES, ids=[page.path or "overview" for page in PAGES])
def test_no_page_takes_what_a_stranger_stored_for_html(
    browser: webdriver.Chrome, server: MlflowServer, page: object
) -> None:
    shown(browser, server, page.path)  # type: ignore[attr-defined]


def test_names_tags_and_parameters_stand_there_as_they_were_stored(
    browser: webdriver.Chrome, server: MlflowServer
) -> None:
    overview = shown(browser, server, "")
    assert f"{SCRIPT} {IMAGE} 3" in overview  # a run's name
    client = MlflowClient(server.backend)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, order_by=["attributes.start_time ASC"])
    compared = shown(browser, server, "compare?" + "&".join(f"run={run.info.run_id}" for run in runs[:2]))
    for part in (f"{SCRIPT} 0", f"{SCRIPT} 1", f"{SCRIPT} {IMAGE} 0"):  # parameters and names, beside each other
        assert part in compared, json.dumps(compared)
    alone = shown(browser, server, f"compare?run={runs[0].info.run_id}")
    for part in (IMAGE, LINK, SCRIPT):  # architecture, optimizer, dataset
        assert part in alone


def test_a_server_that_was_told_no_address_listens_on_loopback_alone(server: MlflowServer) -> None:
    assert {address for address, _ in server.listens_on()} == {"127.0.0.1"}
    assert server.port in {port for _, port in server.listens_on()}
