"""A walk through MLflow's REST API, written down in a form in which two servers can be compared."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.auth import HTTPBasicAuth

from tests.mlflow_server import MlflowServer

ADMIN = HTTPBasicAuth("admin", "admins-own-password")
ALICE, BOB = HTTPBasicAuth("alice", "alices-own-password"), HTTPBasicAuth("bob", "bobs-own-password")
API, ARTIFACTS = "api/2.0/mlflow", "api/2.0/mlflow-artifacts/artifacts"
USERS = "api/3.0/mlflow/users"
HEADERS_THAT_DIFFER = {"date", "content-length", "last-modified", "etag", "server", "set-cookie"}


@dataclass(frozen=True)
class Answer:
    """What a server answered, with identifiers, times, addresses and folders replaced."""

    step: str
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Walk:
    """Sends requests to one server and keeps the normalized answers.

    Attributes:
        server: the server.
        caller: who asks where a request does not say so; None without a log-in.
        answers: all answers, in order.
        unexpected: ``step: status`` of every answer whose status is not the expected one.
    """

    server: MlflowServer
    caller: HTTPBasicAuth | None = None
    answers: list[Answer] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    _session: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, expected: int | None = 200, **arguments: Any) -> Any:
        """Send a request and record the answer.

        Args:
            method: HTTP method.
            path: path without the leading slash.
            expected: status that MLflow documents; None where only the comparison counts.
            arguments: further arguments of ``requests.request``.

        Returns:
            The parsed JSON, or the text where the answer is not JSON.
        """
        arguments.setdefault("auth", self.caller)
        answer = self._session.request(method, f"{self.server.uri}/{path}", timeout=60, **arguments)
        step = f"{len(self.answers)} {method} {self.normalized(path)}"
        headers = {k.lower(): v for k, v in answer.headers.items() if k.lower() not in HEADERS_THAT_DIFFER}
        text = self.normalized(answer.text)
        self.answers.append(Answer(step, answer.status_code, headers, _parsed(text)))
        if expected is not None and answer.status_code != expected:
            self.unexpected.append(f"{step}: {answer.status_code} instead of {expected}: {text[:200]}")
        return _parsed(answer.text)

    def post(self, route: str, expected: int = 200, auth: HTTPBasicAuth | None = None, **body: Any) -> Any:
        """POST JSON to a route of MLflow's API."""
        return self.ask("POST", f"{API}/{route}", expected, json=body, auth=auth or self.caller)

    def get(self, route: str, expected: int | None = 200, auth: HTTPBasicAuth | None = None, **query: Any) -> Any:
        """GET a route of MLflow's API."""
        return self.ask("GET", f"{API}/{route}", expected, params=query, auth=auth or self.caller)

    def normalized(self, text: str) -> str:
        """The text with everything replaced that differs from one server to the next."""
        text = text.replace(self.server.uri, "SERVER").replace(str(self.server.folder), "FOLDER")
        text = re.sub(r"\[SQL: .*?sqlalche\.me", "SQL", text)  # with random names and password hashes
        text = re.sub(r"[0-9a-f]{32}", lambda match: self._name(match[0]), text)
        return re.sub(r"\b\d{13}\b", '"TIME"', text)

    def _name(self, identifier: str) -> str:
        return self._names.setdefault(identifier, f"ID-{len(self._names)}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def walk_everything(walk: Walk) -> None:
    """Experiments, runs, artifacts, logged models, the registry, and what a browser asks for."""
    experiment = _experiments(walk)
    run = _runs(walk, experiment)
    _search(walk, experiment, run)
    _artifacts(walk, experiment, run)
    _logged_models(walk, experiment, run)
    _registry(walk, run)
    _user_interface(walk, run)


def _experiments(walk: Walk) -> str:
    tags = [{"key": "about", "value": "a walk – ünïcödé"}]
    experiment = str(walk.post("experiments/create", name="walk", tags=tags)["experiment_id"])
    walk.post("experiments/create", 400, name="walk")
    walk.post("experiments/create", 400)
    walk.get("experiments/get", experiment_id=experiment)
    walk.get("experiments/get", 404, experiment_id="987654")
    walk.get("experiments/get-by-name", experiment_name="walk")
    walk.get("experiments/get-by-name", 404, experiment_name="nowhere")
    walk.post("experiments/set-experiment-tag", experiment_id=experiment, key="team", value="rsc")
    walk.post("experiments/update", experiment_id=experiment, new_name="walked")
    walk.post("experiments/search", max_results=10, filter="name LIKE 'walk%' AND tags.team = 'rsc'")
    walk.post("experiments/search", 400, max_results=10, filter="name SOUNDS 'walk'")
    walk.post("experiments/delete", experiment_id=experiment)
    walk.post("experiments/search", max_results=10, view_type="DELETED_ONLY")
    walk.post("experiments/restore", experiment_id=experiment)
    return experiment


def _runs(walk: Walk, experiment: str) -> str:
    created = walk.post("runs/create", experiment_id=experiment, run_name="first", start_time=1_700_000_000_000)
    run = str(created["run"]["info"]["run_id"])
    walk.post("runs/create", 404, experiment_id="987654")
    for step, value in enumerate((0.5, 1.5, "NaN", "Infinity")):
        walk.post("runs/log-metric", run_id=run, key="train/loss", value=value, timestamp=1_700_000_000_001, step=step)
    walk.post("runs/log-metric", 400, run_id=run, key="@loss", value=1.0, timestamp=1, step=0)
    walk.post("runs/log-parameter", run_id=run, key="dataset", value="mnistv20-3-0-0")
    walk.post("runs/log-parameter", 400, run_id=run, key="dataset", value="digits")
    walk.post("runs/set-tag", run_id=run, key="rsc.kind", value="<script>")
    walk.post("runs/set-tag", run_id=run, key="gone", value="soon")
    walk.post("runs/delete-tag", run_id=run, key="gone")
    walk.post("runs/delete-tag", 404, run_id=run, key="gone")
    _batch(walk, run)
    walk.post("runs/update", run_id=run, status="FINISHED", end_time=1_700_000_100_000)
    walk.get("runs/get", run_id=run)
    walk.get("runs/get", 404, run_id="0" * 32)
    walk.get("metrics/get-history", run_id=run, metric_key="train/loss")
    walk.get("metrics/get-history", run_id=run, metric_key="train/loss", max_results=2)
    return run


def _batch(walk: Walk, run: str) -> None:
    points = [{"key": f"m/{k}", "value": k / 4, "timestamp": 1_700_000_000_002, "step": k} for k in range(5)]
    params = [{"key": f"p{k}", "value": str(k)} for k in range(5)]
    walk.post("runs/log-batch", run_id=run, metrics=points, params=params, tags=[{"key": "t", "value": "1"}])
    walk.post("runs/log-batch", 400, run_id=run, params=params * 21)
    dataset = {"name": "digits", "digest": "0123", "source_type": "code", "source": "{}"}
    walk.post("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": []}])


def _search(walk: Walk, experiment: str, run: str) -> None:
    for number in range(3):
        made = walk.post("runs/create", experiment_id=experiment, run_name=f"more {number}", start_time=number + 1)
        walk.post("runs/log-batch", run_id=made["run"]["info"]["run_id"], params=[{"key": "p0", "value": str(number)}])
    everything: dict[str, Any] = {"experiment_ids": [experiment], "order_by": ["attributes.start_time DESC"]}
    first = walk.post("runs/search", **everything, max_results=2)
    walk.post("runs/search", **everything, max_results=2, page_token=first["next_page_token"])
    walk.post("runs/search", **everything, filter="params.p0 = '0' AND metrics.`m/2` > 0.25")
    walk.post("runs/search", 400, **everything, filter="params.p0 = 0")
    walk.post("runs/search", 400, experiment_ids=[experiment], max_results=1_000_000)
    walk.post("runs/delete", run_id=run)
    walk.post("runs/log-metric", 400, run_id=run, key="late", value=1.0, timestamp=1, step=0)
    walk.post("runs/search", **everything, run_view_type="DELETED_ONLY")
    walk.post("runs/restore", run_id=run)


def _artifacts(walk: Walk, experiment: str, run: str) -> None:
    folder = f"{ARTIFACTS}/{experiment}/{run}/artifacts"
    walk.ask("PUT", f"{folder}/figures/a b.txt", data="text – ünïcödé".encode())
    walk.ask("PUT", f"{folder}/numbers.bin", data=bytes(range(256)) * 400)
    walk.get("artifacts/list", run_id=run)
    walk.get("artifacts/list", run_id=run, path="figures")
    walk.get("artifacts/list", 400, run_id=run, path="../..")
    walk.ask("GET", ARTIFACTS, params={"path": f"{experiment}/{run}/artifacts/figures"})
    walk.ask("GET", f"{folder}/figures/a b.txt")
    walk.ask("GET", f"{folder}/numbers.bin")
    walk.ask("GET", f"{folder}/nowhere.txt", 404)
    walk.ask("GET", f"{ARTIFACTS}/%2e%2e/%2e%2e/mlflow.db", 400)
    walk.ask("GET", "get-artifact", params={"run_uuid": run, "path": "figures/a b.txt"})
    walk.ask("GET", "get-artifact", 400, params={"run_uuid": run, "path": "../../mlflow.db"})
    walk.ask("DELETE", f"{folder}/numbers.bin")
    walk.get("artifacts/list", run_id=run)


def _logged_models(walk: Walk, experiment: str, run: str) -> None:
    params = [{"key": "model", "value": "ce-tor-MLP"}]
    made = walk.post("logged-models", experiment_id=experiment, name="model", source_run_id=run, params=params)
    model_id = made["model"]["info"]["model_id"]
    model = f"{API}/logged-models/{model_id}"
    walk.ask("PATCH", f"{model}/tags", json={"tags": [{"key": "rsc.kind", "value": "train"}]})
    walk.ask("PATCH", model, json={"model_id": model_id, "status": "LOGGED_MODEL_READY"})
    walk.ask("GET", model)
    walk.ask("GET", f"{API}/logged-models/m-{'0' * 32}", 404)
    walk.post("logged-models/search", experiment_ids=[experiment], filter="params.model = 'ce-tor-MLP'")
    walk.ask("DELETE", model)
    walk.ask("GET", model, 404)


def _registry(walk: Walk, run: str) -> None:
    walk.post("registered-models/create", name="rsc-walk", tags=[{"key": "a", "value": "1"}])
    walk.post("registered-models/create", 400, name="rsc-walk")
    for number in (1, 2):
        made = walk.post("model-versions/create", name="rsc-walk", source=f"runs:/{run}/model", run_id=run)
        assert made["model_version"]["version"] == str(number)
    walk.post("model-versions/create", 404, name="nowhere", source=f"runs:/{run}/model", run_id=run)
    walk.post("registered-models/alias", name="rsc-walk", alias="best", version="2")
    walk.post("registered-models/alias", 400, name="rsc-walk", alias="latest", version="2")
    walk.get("registered-models/alias", name="rsc-walk", alias="best")
    walk.post("model-versions/set-tag", name="rsc-walk", version="1", key="dataset", value="digits")
    walk.post("registered-models/set-tag", name="rsc-walk", key="b", value="2")
    walk.ask("PATCH", f"{API}/model-versions/update", json={"name": "rsc-walk", "version": "1", "description": "x"})
    walk.ask("PATCH", f"{API}/registered-models/update", json={"name": "rsc-walk", "description": "y"})
    walk.get("registered-models/get", name="rsc-walk")
    walk.get("model-versions/get", name="rsc-walk", version="1")
    walk.get("model-versions/get", 404, name="rsc-walk", version="9")
    walk.get("model-versions/get-download-uri", name="rsc-walk", version="1")
    walk.get("registered-models/search", filter="name LIKE 'rsc-%'")
    walk.get("model-versions/search", filter="name = 'rsc-walk'")
    walk.post("registered-models/get-latest-versions", name="rsc-walk")
    walk.ask("DELETE", f"{API}/registered-models/alias", json={"name": "rsc-walk", "alias": "best"})
    walk.ask("DELETE", f"{API}/model-versions/delete", json={"name": "rsc-walk", "version": "2"})
    walk.post("registered-models/rename", name="rsc-walk", new_name="rsc-walked")
    walk.get("registered-models/get", 404, name="rsc-walk")


def _user_interface(walk: Walk, run: str) -> None:
    walk.ask("GET", "health")
    walk.ask("GET", "version")
    walk.ask("GET", "")
    walk.ask("GET", "nowhere", 404)
    query = "query Q($id: String) { mlflowGetRun(input: {runId: $id}) { run { info { status } } } }"
    walk.ask("POST", "graphql", json={"query": query, "variables": {"id": run}})
    for header, value in (("Host", "evil.example"), ("Origin", "https://evil.example")):
        walk.ask("POST", f"{API}/experiments/search", 403, json={"max_results": 1}, headers={header: value})


def walk_permissions(walk: Walk) -> None:
    """Users, and what each may do; the walk's caller is the administrator."""
    for user in (ALICE, BOB):
        walk.post("users/create", username=user.username, password=user.password)
    walk.post("users/create", 400, username="bob", password="another-password")
    walk.post("users/create", 403, auth=BOB, username="eve", password="eves-own-password")
    walk.get("users/get", username="bob")
    walk.get("users/get", 404, username="nobody")
    walk.ask("GET", f"{API}/experiments/get", 401, params={"experiment_id": "0"}, auth=("bob", "wrong"))
    walk.ask("GET", f"{API}/experiments/get", 401, params={"experiment_id": "0"}, auth=("", ""))
    _experiment_of_alice(walk)
    _model_of_alice(walk)
    update = {"username": "bob", "password": "bobs-second-password"}
    walk.ask("PATCH", f"{API}/users/update-password", json=update)
    walk.get("experiments/get", 401, auth=BOB, experiment_id="0")
    walk.ask("DELETE", f"{API}/users/delete", json={"username": "bob"})
    walk.get("users/get", 404, username="bob")


def _experiment_of_alice(walk: Walk) -> None:
    experiment = walk.post("experiments/create", auth=ALICE, name="of alice")["experiment_id"]
    run = walk.post("runs/create", auth=ALICE, experiment_id=experiment, run_name="a", start_time=1)["run"]["info"][
        "run_id"
    ]
    file = f"{ARTIFACTS}/{experiment}/{run}/artifacts/a.txt"
    resource = {"username": "bob", "resource_type": "experiment", "resource_id": experiment}
    rights = ((None, 200, 403), ("EDIT", 200, 200), ("NO_PERMISSIONS", 403, 403), ("DENY", 403, 403))
    for right, may_read, may_write in rights:
        if right:
            walk.ask("POST", f"{USERS}/permissions/grant", None, json=resource | {"permission": right}, auth=ALICE)
        _bob_tries(walk, experiment, run, file)
        walk.get("experiments/get", None if right == "NO_PERMISSIONS" else may_read, auth=BOB, experiment_id=experiment)
        walk.post("runs/set-tag", may_write, auth=BOB, run_id=run, key="by", value="bob")
        walk.ask("GET", f"{USERS}/permissions/list", None, params={"username": "bob"})
        if right:
            walk.ask("POST", f"{USERS}/permissions/revoke", None, json=resource, auth=ALICE)
    walk.post("experiments/delete", 403, auth=BOB, experiment_id=experiment)
    walk.post("experiments/delete", auth=ALICE, experiment_id=experiment)


def _bob_tries(walk: Walk, experiment: str, run: str, file: str) -> None:
    """Statuses that follow from the two asserted ones; both servers must agree on them."""
    walk.ask("POST", f"{API}/runs/search", None, json={"experiment_ids": [experiment]}, auth=BOB)
    walk.ask("POST", f"{API}/experiments/search", None, json={"max_results": 20}, auth=BOB)
    run_of_bob = {"experiment_id": experiment, "run_name": "b", "start_time": len(walk.answers)}
    walk.ask("POST", f"{API}/runs/create", None, json=run_of_bob, auth=BOB)
    walk.ask("PUT", file, None, data=b"text of bob", auth=BOB)
    walk.ask("GET", file, None, auth=BOB)
    walk.ask("GET", "get-artifact", None, params={"run_uuid": run, "path": "a.txt"}, auth=BOB)


def _model_of_alice(walk: Walk) -> None:
    walk.post("registered-models/create", auth=ALICE, name="of-alice")
    walk.post("model-versions/create", 403, auth=BOB, name="of-alice", source="runs:/x/model")
    walk.get("registered-models/get", auth=BOB, name="of-alice")
    walk.get("registered-models/search", auth=BOB)
    walk.ask("DELETE", f"{API}/registered-models/delete", 403, json={"name": "of-alice"}, auth=BOB)
    walk.ask("DELETE", f"{API}/registered-models/delete", json={"name": "of-alice"}, auth=ALICE)
