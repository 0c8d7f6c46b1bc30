"""The dashboards inside MLflow's server: with and without its log-in, every caller sees only what is theirs."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR
from requests.auth import AuthBase, HTTPBasicAuth
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import alert_is_present
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.browser import chromium, found
from benchmarks.filling import fill_store
from benchmarks.screenshots import DRAWN
from rsc_mlflow.server import _readable
from tests.mlflow_server import MlflowServer, free_port, log_in

pytestmark = pytest.mark.integration

ADMIN, BOB = HTTPBasicAuth("admin", "admins-own-password"), HTTPBasicAuth("bob", "bobs-own-password")
SECRET = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "made by a test", "MLFLOW_AUTH_ADMIN_PASSWORD": str(ADMIN.password)}


def _filled(empty_store: Path, folder: Path) -> str:
    """A store with 60 runs in ``open`` and 40 in ``secret``."""
    shutil.copyfile(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    for number, name in ((60, "open"), (40, "secret")):
        fill_store(uri, number, experiment=name, artifacts=(folder / name).as_uri(), now=1.7e9 + number)
    return uri


@pytest.fixture(scope="module")
def log_in_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("log-in")
    uri = _filled(empty_store, folder)
    settings = log_in(folder, str(ADMIN.password))
    server = MlflowServer(folder, uri, ["--app-name", "rsc-basic-auth"], settings).start()
    user = {"username": BOB.username, "password": BOB.password}
    requests.post(f"{server.uri}/api/2.0/mlflow/users/create", json=user, auth=ADMIN, timeout=30).raise_for_status()
    grant = {"username": BOB.username, "resource_type": "experiment", "permission": "DENY"}
    grant["resource_id"] = MlflowClient(uri).get_experiment_by_name("secret").experiment_id
    path = "/api/3.0/mlflow/users/permissions/grant"
    requests.post(f"{server.uri}{path}", json=grant, auth=ADMIN, timeout=30).raise_for_status()
    yield server
    server.stop()


def _get(server: MlflowServer, path: str, auth: AuthBase | None) -> requests.Response:
    return requests.get(f"{server.uri}/dashboards/{path}", auth=auth, timeout=60)


PATHS = (
    "",
    "scores",
    "_dash-layout",
    "_dash-dependencies",
    "_reload-hash",
    "assets/dashboards.js",
    "_dash-component-suites/plotly/package_data/plotly.min.js",
    "data/overview/newest.csv",
    "data/scores/curves.csv",
    "data/privacy/roc.csv",
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_answers_without_the_log_in_and_everything_with_it(log_in_server: MlflowServer, path: str) -> None:
    assert [_get(log_in_server, path, auth).status_code for auth in (None, BOB, ADMIN)] == [401, 200, 200]


def test_a_wrong_password_is_no_log_in(log_in_server: MlflowServer) -> None:
    assert _get(log_in_server, "", HTTPBasicAuth("bob", "wrong")).status_code == 401


def _draw(server: MlflowServer, auth: AuthBase | None, path: str = "/dashboards/", **headers: str) -> requests.Response:
    """Asks for a page as the browser does."""
    outputs = [{"id": name, "property": "children"} for name in ("page", "filters", "menu", "banner")]
    outputs += [{"id": "stamp", "property": "data"}, {"id": "tick", "property": "interval"}]
    inputs = [
        {"id": "address", "property": "pathname", "value": path},
        {"id": "address", "property": "search", "value": ""},
        {"id": "theme", "property": "data", "value": None},
    ]
    output = ".." + "...".join(f"{o['id']}.{o['property']}" for o in outputs) + ".."
    body: dict[str, Any] = {"output": output, "outputs": outputs, "inputs": inputs, "changedPropIds": [], "state": [[]]}
    address = f"{server.uri}/dashboards/_dash-update-component"
    return requests.post(address, json=body, auth=auth, headers=headers, timeout=60)


def test_callbacks_need_the_log_in_and_show_only_what_the_caller_may_read(log_in_server: MlflowServer) -> None:
    assert _draw(log_in_server, None).status_code == 401
    for_admin, for_bob = (_draw(log_in_server, auth).text for auth in (ADMIN, BOB))
    assert "secret" in for_admin
    assert "open" in for_bob
    assert "secret" not in for_bob


def _counts(server: MlflowServer, auth: AuthBase) -> int:
    text = _get(server, "data/overview/runs.csv", auth).text
    return sum(int(row["runs"]) for row in csv.DictReader(io.StringIO(text)))


def test_downloads_hold_only_what_the_caller_may_read(log_in_server: MlflowServer) -> None:
    assert (_counts(log_in_server, ADMIN), _counts(log_in_server, BOB)) == (100, 60)


def test_models_of_hidden_experiments_are_not_shown(log_in_server: MlflowServer) -> None:
    client = MlflowClient(log_in_server.backend)
    for name in ("open", "secret"):
        (run, *_) = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        client.create_registered_model(f"rsc-{name}")
        source = f"runs:/{run.info.run_id}/model"
        client.create_model_version(f"rsc-{name}", source, run.info.run_id, {"dataset": f"{name}-data"})
        client.set_registered_model_alias(f"rsc-{name}", f"alias-of-{name}", "1")
    for_admin, for_bob = (_get(log_in_server, "data/overview/models.csv", auth).text for auth in (ADMIN, BOB))
    for text in ("rsc-open", "open-data", "alias-of-open"):
        assert text in for_admin
        assert text in for_bob
    assert "rsc-secret" in for_admin
    assert "secret" not in for_bob


def test_nobody_asking_is_shown_nothing() -> None:
    assert _readable(["0"]) == ()


def test_naming_a_hidden_run_or_experiment_in_the_address_shows_nothing_of_it(log_in_server: MlflowServer) -> None:
    client = MlflowClient(log_in_server.backend)
    secret = client.get_experiment_by_name("secret").experiment_id
    run = client.search_runs([secret])[0].info.run_id
    for path in (f"data/compare/table.csv?run={run}", "data/overview/runs.csv?experiment=secret"):
        assert len(_get(log_in_server, path, BOB).text.splitlines()) <= 1
    assert len(_get(log_in_server, f"data/compare/table.csv?run={run}", ADMIN).text.splitlines()) == 2


def _save(server: MlflowServer, auth: AuthBase, ids: tuple[Any, Any, Any], content: str, search: str = "") -> str:
    """Presses a save button as the browser does, and returns what the page then says.

    Args:
        server: with a log-in.
        auth: whose browser it is.
        ids: of the place where the answer appears, of the button, and of the text field.
        content: of the text field.
        search: of the page's address; given for a view.
    """
    said, save, text = ids
    state = [{"id": text, "property": "value", "value": content}]
    if search:
        state += [{"id": "address", "property": "pathname", "value": "/dashboards/scores"}]
        state += [{"id": "address", "property": "search", "value": search}]
    pressed = save if isinstance(save, str) else json.dumps(save, sort_keys=True, separators=(",", ":"))
    body = {
        "output": "view-said.children" if search else '{"run":["MATCH"],"type":"note-said"}.children',
        "outputs": {"id": said, "property": "children"},
        "inputs": [{"id": save, "property": "n_clicks", "value": 1}],
        "changedPropIds": [f"{pressed}.n_clicks"],
        "state": state,
    }
    answer = requests.post(f"{server.uri}/dashboards/_dash-update-component", json=body, auth=auth, timeout=60)
    answer.raise_for_status()
    (found,) = answer.json()["response"].values()
    return str(found["children"])


def test_a_note_is_saved_by_whoever_may_edit_the_run_and_a_reader_is_told_no(log_in_server: MlflowServer) -> None:
    client = MlflowClient(log_in_server.backend)
    found = {name: client.get_experiment_by_name(name).experiment_id for name in ("open", "secret")}
    runs = {name: client.search_runs([one])[0].info.run_id for name, one in found.items()}

    def note(auth: AuthBase, run: str, text: str) -> str:
        said, save, box = ({"type": f"note-{kind}", "run": run} for kind in ("said", "save", "text"))
        return _save(log_in_server, auth, (said, save, box), text)

    assert note(ADMIN, runs["open"], "a *note*") == "Saved."
    assert note(BOB, runs["open"], "spoiled").startswith("You may read this run but not edit it.")
    assert note(BOB, runs["secret"], "spoiled") == "This run does not exist, or you may not read it."
    assert client.get_run(runs["open"]).data.tags["mlflow.note.content"] == "a *note*"
    assert client.get_run(runs["secret"]).data.tags.get("mlflow.note.content", "") != "spoiled"


def test_a_saved_view_is_listed_for_those_who_may_read_its_experiment(log_in_server: MlflowServer) -> None:
    def save(auth: AuthBase, name: str, search: str) -> str:
        return _save(log_in_server, auth, ("view-said", "view-save", "view-name"), name, search)

    assert save(ADMIN, "of the open", "?experiment=open") == "Saved; it is listed on Overview."
    assert save(ADMIN, "of the secret", "?experiment=secret") == "Saved; it is listed on Overview."
    assert save(ADMIN, "of both", "?family=mnist").startswith("Choose one experiment in the filters first")
    assert save(BOB, "spoiled", "?experiment=open").startswith("You may read this experiment but not edit it.")
    assert save(ADMIN, "a/b", "?experiment=open").startswith("Enter a name for the view")
    for_admin, for_bob = (json.dumps(_draw(log_in_server, auth).json()) for auth in (ADMIN, BOB))
    assert "/dashboards/scores?experiment=open" in for_bob
    assert "of the secret" in for_admin
    assert "of the secret" not in for_bob
    assert "spoiled" not in for_admin


def _as(browser: webdriver.Chrome, user: HTTPBasicAuth, address: str) -> None:
    """Opens an address as a user and waits until the page is drawn."""
    secret = b64encode(":".join(map(str, (user.username, user.password))).encode()).decode()
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Authorization": f"Basic {secret}"}})
    browser.get(address)
    WebDriverWait(browser, 180).until(lambda driver: driver.execute_script(DRAWN))


def _press(browser: webdriver.Chrome, button: str, says: str) -> None:
    """Clicks a button, agrees if it asks before it deletes, and waits for the answer."""
    clicked = browser.find_element(By.CSS_SELECTOR, button)
    deletes = clicked.text == "Delete"
    clicked.click()
    if deletes:
        WebDriverWait(browser, 180).until(alert_is_present()).accept()
    WebDriverWait(browser, 180).until(lambda driver: says in driver.find_element(By.TAG_NAME, "body").text)


@pytest.mark.skipif(found() is None, reason="needs Debian's chromium and chromium-driver")
def test_notes_and_views_are_written_in_a_browser_by_an_editor_and_not_by_a_reader(log_in_server: MlflowServer) -> None:
    client, pages = MlflowClient(log_in_server.backend), f"{log_in_server.uri}/dashboards/"
    experiment = client.get_experiment_by_name("open").experiment_id
    run = client.search_runs([experiment])[0].info.run_id
    with chromium() as browser:
        for user, text, says in ((ADMIN, "seen by all", "Saved."), (BOB, "spoiled", "You may read this run but not")):
            _as(browser, user, f"{pages}compare?run={run}")
            box = browser.find_element(By.CSS_SELECTOR, "#panel-notes textarea")
            box.send_keys(Keys.CONTROL, "a")  # what other tests have written
            box.send_keys(text)
            _press(browser, "#panel-notes .note-form button", says)
        assert client.get_run(run).data.tags["mlflow.note.content"] == "seen by all"
        _as(browser, ADMIN, f"{pages}scores?experiment=open&facet=none")
        browser.execute_script("document.querySelector('.views').open = true")
        browser.find_element(By.ID, "view-name").send_keys("my view")
        _press(browser, "#view-save", "Saved; it is listed on Overview.")
        delete, tag = "#panel-views li[id*='my view'] button", "rsc.view.my view"
        _as(browser, BOB, pages)
        _press(browser, delete, "You may read this experiment but not edit it.")
        assert client.get_experiment(experiment).tags[tag] == "scores?experiment=open&facet=none"
        _as(browser, ADMIN, pages)
        _press(browser, delete, "View deleted.")
        assert tag not in client.get_experiment(experiment).tags
        _as(browser, BOB, f"{pages}?again")
        assert "my view" not in browser.find_element(By.TAG_NAME, "body").text


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_other_origins_and_hosts_are_refused_with_a_valid_log_in(log_in_server: MlflowServer, origin: str) -> None:
    assert _draw(log_in_server, ADMIN, Origin=origin).status_code == 403
    assert _draw(log_in_server, ADMIN, Host="evil.example").status_code == 403
    assert _draw(log_in_server, ADMIN, Origin=log_in_server.uri).status_code == 200


def test_mlflows_own_api_is_as_it_was(log_in_server: MlflowServer) -> None:
    path = f"{log_in_server.uri}/api/2.0/mlflow/experiments/search"
    found = requests.post(path, json={"max_results": 100}, auth=BOB, timeout=30).json()["experiments"]
    assert {e["name"] for e in found} == {"Default", "open"}
    assert requests.get(f"{log_in_server.uri}/", auth=BOB, timeout=30).status_code in (200, 403)
    assert requests.post(path, json={"max_results": 1}, timeout=30).status_code == 401


def test_a_missing_password_ends_the_whole_server_with_one_message(empty_store: Path, tmp_path: Path) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "rsc-basic-auth", "--workers", "2"]
    command += ["--host", "127.0.0.1", "--port", str(free_port())]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    secret = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "x", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    done = subprocess.run(
        command, check=False, env=clean | secret, cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert "error: MLflow Authentication needs a password" in done.stderr + done.stdout


def test_a_missing_password_ends_a_program_that_is_no_worker_too(tmp_path: Path) -> None:
    program = "from rsc_mlflow import server; server.create_basic_auth_app()"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    clean |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": "x", BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{tmp_path}/mlflow.db"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env=clean, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "error: MLflow Authentication needs a password" in done.stderr


def test_open_server_serves_the_dashboards_beside_mlflows_ui(dashboards_server: MlflowServer) -> None:
    assert "<title>MLflow</title>" in requests.get(f"{dashboards_server.uri}/", timeout=30).text
    assert _get(dashboards_server, "", None).status_code == 200
    assert _draw(dashboards_server, None).status_code == 200
    assert _draw(dashboards_server, None, Origin="http://localhost:1").status_code == 403
    assert _draw(dashboards_server, None, Host="evil.example").status_code == 403


def test_artifacts_are_read_through_the_server(dashboards_server: MlflowServer) -> None:
    assert "false-positive rate (log)" in _draw(dashboards_server, None, "/dashboards/privacy").text


@pytest.mark.parametrize(
    ("way", "foreign"),
    [
        (["--gunicorn-opts", "--log-level=warning"], 403),  # MLflow's older way to serve
        (["--disable-security-middleware"], 200),  # the switch holds for the dashboards, too
    ],
)
def test_other_ways_to_serve(way: list[str], foreign: int, empty_store: Path, tmp_path: Path) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    server = MlflowServer(tmp_path, arguments=["--app-name", "rsc", *way]).start()
    try:
        assert "<title>MLflow</title>" in requests.get(f"{server.uri}/", timeout=30).text
        assert _get(server, "", None).status_code == 200
        assert _draw(server, None).status_code == 200
        assert _draw(server, None, Origin="https://elsewhere.example").status_code == foreign
        assert _draw(server, None, Host="elsewhere.example").status_code == foreign
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("app", "given", "pool"),
    [
        ("create_basic_auth_app", {}, "10 70"),
        ("create_app", {"MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "3"}, "10 3"),
    ],
)
def test_a_worker_has_a_connection_for_each_of_its_threads(
    app: str, given: dict[str, str], pool: str, empty_store: Path, tmp_path: Path
) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    program = (
        f"from rsc_mlflow import server; server.{app}()\n"
        "from mlflow.server.handlers import _get_tracking_store\n"
        "pool = _get_tracking_store().engine.pool; print(pool.size(), pool._max_overflow)"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    clean |= SECRET | {BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{tmp_path}/mlflow.db"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, check=True, env=clean | given, cwd=tmp_path, capture_output=True, text=True, timeout=150
    )
    assert done.stdout.splitlines()[-1] == pool
