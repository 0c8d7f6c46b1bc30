"""The app over HTTP, without a browser: callbacks, downloads, guards, and what it says when things go wrong."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import flask
import pandas as pd
import pytest
from flask.testing import FlaskClient
from mlflow import MlflowClient

from benchmarks.filling import fill_store
from dashboards.__main__ import build_server
from dashboards.app import links_of, notices
from dashboards.components import control_id, picked_runs
from dashboards.export import csv_text
from dashboards.guard import is_foreign
from dashboards.pages import PAGES
from dashboards.repository import RunRepository, VisibleRuns
from rsc_mlflow.tracking.frame import RunStore, Snapshot
from tests.dashboards.frames import MadeUpSource, made_up, view

DRAWN = ["page", "filters", "menu", "banner", "stamp", "tick"]


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> flask.Flask:
    folder = tmp_path_factory.mktemp("app")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    fill_store(uri, 300, artifacts=folder.as_uri())
    made = build_server(uri, "http://mlflow.example/base")
    _wait(made)
    return made


def _wait(server: flask.Flask) -> None:
    for _ in range(100):
        if "loading" not in json.dumps(draw(server.test_client())):
            return
    raise AssertionError("the store was not read")


def draw(
    client: FlaskClient, path: str = "/", search: str = "", shown: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What the browser asks for to show a page, with the controls that it shows; id → the answer's properties."""
    outputs = [{"id": name, "property": "children"} for name in DRAWN[:4]]
    outputs += [{"id": "stamp", "property": "data"}, {"id": "tick", "property": "interval"}]
    inputs = [
        {"id": "address", "property": "pathname", "value": path},
        {"id": "address", "property": "search", "value": search},
        {"id": "theme", "property": "data", "value": None},
    ]
    return ask(client, "..page.children...filters", outputs, inputs, [shown or []])


def ask(client: FlaskClient, begins: str, outputs: Any, inputs: list[Any], state: Any = ()) -> dict[str, Any]:
    """Calls the callback whose output begins so; empty if nothing changes."""
    rules = client.get("/_dash-dependencies").get_json()
    output = next(rule["output"] for rule in rules if rule["output"].startswith(begins))
    changed = [f"{json.dumps(i['id']) if isinstance(i['id'], dict) else i['id']}.{i['property']}" for i in inputs]
    body = {"output": output, "outputs": outputs, "inputs": inputs, "changedPropIds": changed[:1], "state": list(state)}
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code in (200, 204), answer.text
    return dict(answer.get_json()["response"]) if answer.status_code == 200 else {}


def ids_in(component: Any, kind: str) -> list[dict[str, Any]]:
    """The ids of one type among the parts of a drawn page."""
    if isinstance(component, list):
        return [found for part in component for found in ids_in(part, kind)]
    if not isinstance(component, dict):
        return []
    own = component.get("id")
    mine = [own] if isinstance(own, dict) and own.get("type") == kind else []
    return mine + [found for part in component.values() for found in ids_in(part, kind)]


def tick(client: FlaskClient, path: str, stamp: str, page: dict[str, Any], search: str = "") -> dict[str, Any]:
    """What the browser asks for every few seconds, with the figures, notes and tables that it shows."""
    graphs, notes, tables, warned = (ids_in(page, kind) for kind in ("graph", "note", "rows", "notice"))
    outputs: list[Any] = [{"id": "page", "property": "children"}, {"id": "banner", "property": "children"}]
    outputs += [{"id": "stamp", "property": "data"}, {"id": "tick", "property": "interval"}]
    outputs += [[{"id": one, "property": name} for one in graphs] for name in ("figure", "style")]
    parts = ((notes, "children"), (tables, "rowData"), (warned, "children"))
    outputs += [[{"id": one, "property": name} for one in group] for group, name in parts]
    state = [
        {"id": "address", "property": "pathname", "value": path},
        {"id": "address", "property": "search", "value": search},
        {"id": "stamp", "property": "data", "value": stamp},
    ]
    return ask(client, "..page.children@", outputs, [{"id": "due", "property": "data", "value": 1}], state)


@pytest.fixture
def never_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes between two requests, what is known counts as new."""
    monkeypatch.setattr("dashboards.repository.STALE_SECONDS", 1e9)


def rows(client: FlaskClient, address: str) -> list[dict[str, str]]:
    """A CSV download as rows."""
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    assert "attachment" in answer.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_every_page_draws(server: flask.Flask) -> None:
    for page in PAGES:
        text = json.dumps(draw(server.test_client(), f"/{page.path}"))
        assert page.title in text
        assert "could not be drawn" not in text


def test_the_menu_keeps_filters_and_drops_the_pages_own_options(server: flask.Flask) -> None:
    text = json.dumps(draw(server.test_client(), "/scores", "?family=mnist&facet=target")["menu"])
    assert "/unlearning?family=mnist" in text
    assert "facet" not in text


def test_a_download_holds_the_numbers_that_the_query_api_gives(server: flask.Flask) -> None:
    client = server.test_client()
    found = rows(client, "/data/scores/curves.csv?family=mnist&facet=none&optimizer=sgd")
    row = next(row for row in found if row["paper"] == "R3" and row["baseline"] == "False")
    assert len(rows(client, "/data/overview/newest.csv")) == 150
    assert 0 < float(row["mean"]) < 1
    assert len(row["links"].split(",")) == int(row["runs"])


def test_a_table_is_downloaded_in_latex(server: flask.Flask) -> None:
    client = server.test_client()
    answer = client.get("/data/scores/curves.tex?family=mnist&facet=none")
    assert (answer.status_code, answer.mimetype) == (200, "text/tex")
    assert answer.text.count(r" \\") == 1 + len(rows(client, "/data/scores/curves.csv?family=mnist&facet=none"))
    assert r"\toprule" in answer.text
    assert client.get("/figure/scores/curves/99.pdf").status_code == 404
    refused = client.get("/figure/scores/curves/0.pdf?size=huge")
    assert (refused.status_code, refused.text.startswith("error: Invalid value for 'size': 'huge'")) == (400, True)


def test_a_folded_table_comes_when_it_is_unfolded(server: flask.Flask) -> None:
    client = server.test_client()
    page = draw(client, "/scores")["page"]
    assert ids_in(page, "rows") == []
    place = {"panel": "curves"}

    def unfold(clicks: int) -> dict[str, Any]:
        inputs = [{"id": {"type": "fold", **place}, "property": "n_clicks", "value": clicks}]
        state = [{"id": "address", "property": "pathname", "value": "/scores"}]
        state += [{"id": "address", "property": "search", "value": "?family=mnist"}]
        output = {"id": {"type": "folded", **place}, "property": "children"}
        return ask(client, '{"panel":["MATCH"],"type":"folded"}', output, inputs, state)

    (found,) = unfold(1).values()
    assert ids_in(found, "rows") == [{"type": "rows", **place}]
    grid = found["children"]["props"]["children"]["props"]
    assert len(grid["rowData"]) == len(rows(client, "/data/scores/curves.csv?family=mnist"))
    assert unfold(2) == {}


def test_a_bad_filter_is_explained_on_the_page_and_refused_in_a_download(server: flask.Flask) -> None:
    client = server.test_client()
    page = json.dumps(draw(client, "/scores", "?filter=params.x%20="))
    assert "Invalid MLflow filter" in page
    assert "Expected for example params.optimizer" in page
    answer = client.get("/data/scores/curves.csv?filter=params.x%20=")
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")


def test_unknown_pages_and_data_say_so(server: flask.Flask) -> None:
    client = server.test_client()
    assert "No such page" in json.dumps(draw(client, "/nobody"))
    assert client.get("/data/scores/nobody.csv").status_code == 404
    assert client.get("/data/nobody/curves.csv").status_code == 404


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://localhost.evil"])
def test_requests_from_other_origins_are_refused(server: flask.Flask, origin: str) -> None:
    client = server.test_client()
    headers = {"Origin": origin}
    assert client.post("/_dash-update-component", json={}, headers=headers).status_code == 403
    assert client.get("/data/scores/curves.csv", headers=headers).status_code == 403


def test_a_foreign_host_is_refused(server: flask.Flask) -> None:
    assert server.test_client().get("/", headers={"Host": "evil.example"}).status_code == 403
    for host in ("127.0.0.1:8050", "[::1]", "[::1]:8050", "localhost"):
        assert server.test_client().get("/", headers={"Host": host}).status_code == 200
    assert server.test_client().get("/", headers={"Host": "1"}).status_code == 403


def test_what_an_origin_is_compared_with() -> None:
    assert not is_foreign(None, "h:1")
    assert not is_foreign("http://h:1", "h:1")
    assert is_foreign("http://h:2", "h:1")
    assert is_foreign("null", "null")
    assert not is_foreign("https://lab.example", "h:1", ["https://*.example"])


def test_everything_comes_from_this_server(server: flask.Flask) -> None:
    client = server.test_client()
    page = client.get("/").text
    addresses = [part.split('"')[0] for part in page.split('src="')[1:] + page.split('href="')[1:]]
    assert addresses
    assert all(address.startswith("/") and not address.startswith("//") for address in addresses)
    assert client.get("/_dash-component-suites/plotly/package_data/plotly.min.js").status_code == 200
    assert client.get("/").headers["Cache-Control"] == "private, no-store"


def test_runs_are_linked_to_mlflows_ui(server: flask.Flask) -> None:
    text = json.dumps(draw(server.test_client()))
    assert "http://mlflow.example/base/#/experiments/1/runs/" in text


def test_new_runs_show_on_the_next_drawing(sqlite_store: str) -> None:
    server = build_server(sqlite_store)
    client = MlflowClient(sqlite_store)
    _wait(server)
    assert "No runs yet" in json.dumps(draw(server.test_client()))
    run = client.create_run("0", run_name="a new one", tags={"rsc.kind": "train"})
    client.set_terminated(run.info.run_id)
    deadline = time.monotonic() + 30  # a drawing asks for what is new and does not wait for it
    while "a new one" not in json.dumps(draw(server.test_client())):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_store_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # as python -m dashboards sets it, but at once
    server = build_server("http://127.0.0.1:9")  # nothing listens on the discard port
    for _ in range(30):
        banner = json.dumps(draw(server.test_client())["banner"])
        if "store-gone" in banner:
            break
    assert "does not answer" in banner
    assert "Traceback" not in banner


def test_the_point_that_was_clicked_names_its_runs() -> None:
    assert links_of({"points": [{"customdata": "1:a,1:b"}]}) == "1:a,1:b"
    assert links_of({"points": [{"customdata": [["1:a"]]}]}) == "1:a"
    assert links_of({"points": [{"x": 1}]}) == links_of(None) == ""


def test_only_runs_that_the_reader_may_see_are_listed_behind_a_point() -> None:
    raw = made_up(20)
    repository = RunRepository(RunStore("sqlite:///nobody.db"), MadeUpSource(20), ui="/")
    visible = VisibleRuns(view(raw).every.head(3), {"1": "made-up"}, Snapshot())
    links = ",".join(f"1:{run_id}" for run_id in raw["run_id"])
    parts = picked_runs(links, visible, repository, "/compare")
    assert len(parts[1].children) == 3


def test_a_page_that_nobody_looked_at_says_how_old_its_runs_are() -> None:
    """A worker that was idle for an hour must not show an empty store as if it were one."""
    runs = view(made_up(20)).every
    repository = RunRepository(RunStore("sqlite:///nobody.db"), MadeUpSource(20))
    fresh, idle = (Snapshot(complete=True, fetched_at=time.time() - age) for age in (1, 3600))
    assert notices(VisibleRuns(runs, {}, fresh), repository) == []
    assert "This page shows the runs as of" in str(notices(VisibleRuns(runs, {}, idle), repository))
    first = Snapshot(fetched_at=time.time())
    assert "Loading all runs for the first time: 20 so far" in str(notices(VisibleRuns(runs, {}, first), repository))
    assert VisibleRuns(runs, {}, fresh).stamp != VisibleRuns(runs, {}, idle).stamp
    gone = Snapshot(complete=True, fetched_at=0, error="connection refused")
    assert "does not answer" in str(notices(VisibleRuns(runs, {}, gone), repository))


@pytest.mark.usefixtures("never_stale")
def test_a_tick_replaces_figures_in_place_only_where_something_changed(server: flask.Flask) -> None:
    client = server.test_client()
    page = draw(client, "/scores")
    stamp = page["stamp"]["data"]
    assert tick(client, "/scores", stamp, page) == {}
    assert tick(client, "/nobody", "another", page) == {}
    changed = tick(client, "/scores", "another /scores", page)
    assert changed["stamp"]["data"] == stamp
    assert "page" not in changed
    figures = {key for key in changed if '"type":"graph"' in key}
    assert len(figures) == len(ids_in(page, "graph")) > 1
    assert all(changed[key]["figure"]["data"] for key in figures)
    assert all("points" in changed[key]["children"] for key in changed if '"type":"note"' in key)


@pytest.mark.usefixtures("never_stale")
def test_a_tick_draws_the_page_anew_where_its_panels_are_others(server: flask.Flask) -> None:
    client = server.test_client()
    changed = tick(client, "/scores", "another", draw(client, "/factors"))
    assert set(changed) == {"page", "banner", "stamp", "tick"}
    assert ids_in(changed["page"], "graph") == ids_in(draw(client, "/scores")["page"], "graph")


@pytest.mark.usefixtures("never_stale")
def test_a_tick_draws_the_page_of_the_address_where_that_of_an_earlier_one_is_shown(server: flask.Flask) -> None:
    client = server.test_client()
    late, filtered = (draw(client, "/scores", search) for search in ("", "?family=mnist"))  # the late answer came last
    healed = tick(client, "/scores", late["stamp"]["data"], late, "?family=mnist")
    assert healed["stamp"] == filtered["stamp"] != late["stamp"]
    assert ids_in(healed["page"], "graph") == ids_in(filtered["page"], "graph") != ids_in(late["page"], "graph")


@pytest.mark.usefixtures("never_stale")
def test_a_tick_leaves_the_word_on_a_bad_filter(server: flask.Flask) -> None:
    client = server.test_client()
    page = draw(client, "/scores", "?filter=params.x%20=")
    changed = tick(client, "/scores", "another", page, "?filter=params.x%20=")
    assert set(changed) == {"banner", "stamp", "tick"}


def test_the_filter_bar_is_left_alone_where_it_shows_the_filters(server: flask.Flask) -> None:
    client = server.test_client()
    shown: list[dict[str, Any]] = [
        {"id": i, "property": "value", "value": None} for i in ids_in(draw(client), "control")
    ]
    assert "filters" not in draw(client, shown=shown)
    assert "filters" in draw(client, "/", "?family=mnist", shown)
    for state in shown:
        state["value"] = ["mnist"] if state["id"]["name"] == "family" else None
    assert "filters" not in draw(client, "/", "?family=mnist", shown)


def test_a_clicked_point_lists_its_runs(server: flask.Flask) -> None:
    client = server.test_client()
    link = rows(client, "/data/overview/newest.csv")[0]["links"]
    place = {"panel": "curves", "index": 0}

    def click(data: object) -> dict[str, Any]:
        inputs = [{"id": {"type": "graph", **place}, "property": "clickData", "value": data}]
        output = {"id": {"type": "picked", **place}, "property": "children"}
        return ask(client, '{"index":["MATCH"],"panel":["MATCH"],"type":"picked"}', output, inputs)

    (found,) = click({"points": [{"customdata": link}]}).values()
    text = json.dumps(found)
    assert "1 run behind this point" in text
    assert f"/compare?run={link.split(':')[1]}" in text
    assert click({"points": [{"customdata": ""}]}) == {}


def test_runs_are_suggested_by_a_part_of_their_name(server: flask.Flask) -> None:
    client = server.test_client()
    chosen = rows(client, "/data/overview/newest.csv")[0]["links"].split(":")[1]

    def typed(text: str, search: str = "") -> list[dict[str, str]]:
        control = control_id("run", kind="many")
        inputs = [{"id": control, "property": "search_value", "value": text}]
        state = [{"id": control, "property": "value", "value": [chosen]}]
        state += [{"id": "address", "property": "search", "value": search}]
        answer = ask(
            client,
            json.dumps(control, sort_keys=True, separators=(",", ":")),
            {"id": control, "property": "options"},
            inputs,
            state,
        )
        return next(iter(answer.values()))["options"] if answer else []

    assert typed("") == []
    found = typed("SWEEP-0")
    assert found[0]["value"] == chosen
    assert [option["label"].split(" · ")[0] for option in found[1:]] == ["sweep-0 grids/paper/scores.yaml"]
    assert [option["value"] for option in typed(found[1]["value"])][1:] == [found[1]["value"]]
    assert len(typed("mnist")) == 51
    assert len(typed("mnist", "?filter=params.x%20=")) == 51  # a bad filter hides no run
    assert all("fashion" in option["label"] for option in typed("LargeMLP", "?family=fashion")[1:])


def test_a_target_that_is_no_number_lets_nothing_through(server: flask.Flask) -> None:
    """Superscript two is a digit for Python's isdigit, and none for float."""
    assert "/scores?target=%C2%B2" in json.dumps(draw(server.test_client(), "/scores", "?target=%C2%B2"))


def test_a_download_cannot_carry_a_formula() -> None:
    table = pd.DataFrame({"=a run's name": ["=HYPERLINK(1)", "fine", "-0.5", "-1+2"], "value": [-1.5, 2.0, None, 0.0]})
    assert csv_text(table) == "'=a run's name,value\n'=HYPERLINK(1),-1.5\nfine,2.0\n-0.5,\n'-1+2,0.0\n"


def test_passwords_in_addresses_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # nobody listens there, and trying again takes minutes
    store = RunStore("http://someone:secret@127.0.0.1:9/base")
    repository = RunRepository(store, MadeUpSource(3), ui="http://someone:secret@127.0.0.1:9/base/")
    store.refresh()
    visible = repository.snapshot()
    assert "secret" not in str(notices(visible, repository)) + repository.where + repository.run_address("1", "a")
    assert "someone:***@127.0.0.1:9/base does not answer" in str(notices(visible, repository))
    assert repository.run_address("1", "a") == "http://127.0.0.1:9/base/#/experiments/1/runs/a"


def test_runs_without_a_seed_are_listed_without_one() -> None:
    raw = made_up(20)
    visible = VisibleRuns(view(raw).every.assign(random_seed=""), {"1": "made-up"}, Snapshot())
    repository = RunRepository(RunStore("sqlite:///nobody.db"), MadeUpSource(20))
    parts = picked_runs(f"1:{raw['run_id'][3]}", visible, repository, "/compare")
    assert parts[1].children[0].children[1] == " · finished"
