"""MLflow's REST API answers the same with the dashboards in the server as without them."""

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow.server
import pytest
from requests.auth import HTTPBasicAuth

from tests.integration.rest_walk import ADMIN, Walk, walk_everything, walk_permissions
from tests.mlflow_server import MlflowServer, log_in

pytestmark = pytest.mark.integration
LEFT_OUT = {"/ajax-api/3.0/mlflow/demo/generate", "/ajax-api/3.0/mlflow/gateway/supported-models"}
"""The first fills the store with examples, the second asks the internet."""
CAROL = HTTPBasicAuth("carol", "carols-own-password")
NOBODY = HTTPBasicAuth("", "")
Pair = tuple[MlflowServer, MlflowServer]


def _server(app: str | None, folder: Path, empty_store: Path) -> MlflowServer:
    shutil.copyfile(empty_store, folder / "mlflow.db")
    environment = log_in(folder, str(ADMIN.password))
    return MlflowServer(folder, arguments=["--app-name", app] if app else [], environment=environment)


@pytest.fixture
def start_pair(
    empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str | None, str], Pair]]:
    """Starts MLflow's server and ours at the same time."""
    made: list[MlflowServer] = []

    def start(mlflows: str | None, ours: str) -> Pair:
        made.extend(_server(app, tmp_path_factory.mktemp(app or "plain"), empty_store) for app in (mlflows, ours))
        _at_once(MlflowServer.start, made)
        return made[0], made[1]

    yield start
    _at_once(MlflowServer.stop, made)


def _at_once(do: Callable[[Any], object], items: list[Any]) -> None:
    with ThreadPoolExecutor(len(items)) as pool:
        list(pool.map(do, items))


def _compare(pair: Pair, walk: Callable[[Walk], None], caller: HTTPBasicAuth | None) -> int:
    """The same walk on both servers; returns how many answers were compared."""
    mlflows, ours = walks = [Walk(server, caller) for server in pair]
    _at_once(walk, walks)
    assert mlflows.unexpected == []
    assert [answer.step for answer in ours.answers] == [answer.step for answer in mlflows.answers]
    for theirs, our in zip(mlflows.answers, ours.answers, strict=True):
        assert our == theirs
    return len(ours.answers)


def _routes() -> list[tuple[str, str]]:
    """Every (method, path) of MLflow's Flask app, placeholders filled; of two spellings of one route the public one.

    Routes of a later MLflow are asked without anybody having listed them here.
    """
    rules = list(mlflow.server.app.url_map.iter_rules())
    known = {rule.rule for rule in rules}
    found = []
    for rule in rules:
        if rule.rule in LEFT_OUT or (rule.rule.startswith("/ajax-") and f"/{rule.rule[6:]}" in known):
            continue
        path = re.sub(r"<[^>]+>", "x", rule.rule).removeprefix("/")
        found += [(method, path) for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    return sorted(found)


def _ask_every_route(walk: Walk) -> None:
    """An empty request to every route; with the log-in from nobody, a user and the administrator."""
    callers: tuple[HTTPBasicAuth | None, ...] = (None,)
    if walk.caller is not None:
        walk.post("users/create", username=CAROL.username, password=CAROL.password)
        callers = (NOBODY, CAROL, ADMIN)
    for caller in callers:
        for method, path in _routes():
            body: dict[str, str] | None = None if method == "GET" else {}
            walk.ask(method, path, None, json=body, auth=caller)


def test_mlflows_api_is_the_same_with_the_dashboards(start_pair: Callable[[str | None, str], Pair]) -> None:
    pair = start_pair(None, "rsc")
    assert _compare(pair, walk_everything, None) > 100
    assert _compare(pair, _ask_every_route, None) > 200


def test_mlflows_api_is_the_same_behind_the_log_in(start_pair: Callable[[str | None, str], Pair]) -> None:
    pair = start_pair("basic-auth", "rsc-basic-auth")
    assert _compare(pair, walk_everything, ADMIN) > 100
    assert _compare(pair, walk_permissions, ADMIN) > 60
    assert _compare(pair, _ask_every_route, ADMIN) > 600
