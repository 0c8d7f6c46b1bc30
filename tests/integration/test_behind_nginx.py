"""The nginx configuration in docs/operations.md, run by nginx, serves everything below a path."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from mlflow import MlflowClient

from benchmarks.filling import fill_store
from tests.mlflow_server import MlflowServer, free_port

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
AROUND = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off; default_type application/octet-stream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {server}
}}
"""


def _documented(port: int, upstream: int) -> str:
    """The documented ``server`` block without TLS, on our ports."""
    (block,) = re.findall(r"```nginx\n(.+?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    block, listens = re.subn(r"listen 443 ssl;", f"listen 127.0.0.1:{port};", block)
    block, certificates = re.subn(r"^ *ssl_.+\n", "", block, flags=re.MULTILINE)
    block, proxied = re.subn(r"127\.0\.0\.1:5000", f"127.0.0.1:{upstream}", block)
    assert (listens, certificates, proxied) == (1, 2, 1)
    return block


@pytest.fixture(scope="module")
def site(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of MLflow below ``/mlflow`` of nginx."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed here (Debian: apt-get install nginx)")
    folder = tmp_path_factory.mktemp("nginx")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = MlflowServer(folder, arguments=["--app-name", "rsc", "--static-prefix", "/mlflow"])
    fill_store(server.backend, 60, artifacts=(folder / "files").as_uri())
    port = free_port()
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, server=_documented(port, server.port)))
    server.start()
    with (folder / "nginx.log").open("wb") as log:
        nginx = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)], stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/mlflow/", nginx, folder / "nginx.log")
        yield f"http://127.0.0.1:{port}/mlflow"
    finally:
        nginx.terminate()
        nginx.wait()
        server.stop()


def _wait(address: str, nginx: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        assert nginx.poll() is None, log.read_text()
        try:
            requests.get(address, timeout=30)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())


def _links(site: str, page: str) -> list[str]:
    """Addresses of all scripts, styles and links of a page."""
    answer = requests.get(page, timeout=60)
    assert answer.status_code == 200
    found = re.findall(r"(?:src|href)=\"([^\"#]+)\"", answer.text)
    assert found
    return [urljoin(page, link) for link in found]


@pytest.mark.parametrize("page", ["/", "/dashboards/", "/dashboards/scores"])
def test_every_file_of_a_page_is_found_below_the_path(site: str, page: str) -> None:
    for link in _links(site, f"{site}{page}"):
        assert link.startswith(f"{site}/")
        assert requests.get(link, timeout=60).status_code == 200, link


def _drawn(site: str, path: str, origin: str) -> requests.Response:
    """A page as the browser asks for it."""
    outputs = [{"id": name, "property": "children"} for name in ("page", "filters", "menu", "banner")]
    outputs += [{"id": "stamp", "property": "data"}, {"id": "tick", "property": "interval"}]
    inputs = [
        {"id": "address", "property": "pathname", "value": path},
        {"id": "address", "property": "search", "value": ""},
        {"id": "theme", "property": "data", "value": None},
    ]
    output = ".." + "...".join(f"{o['id']}.{o['property']}" for o in outputs) + ".."
    body: dict[str, Any] = {"output": output, "outputs": outputs, "inputs": inputs, "changedPropIds": [], "state": [[]]}
    address = f"{site}/dashboards/_dash-update-component"
    return requests.post(address, json=body, headers={"Origin": origin}, timeout=60)


def test_links_in_drawn_pages_stay_below_the_path(site: str) -> None:
    host = site.removesuffix("/mlflow")
    for page in ("", "scores", "privacy", "compare"):
        answer = _drawn(site, f"/mlflow/dashboards/{page}", host)
        assert answer.status_code == 200
        links = re.findall(r'"href": "(/[^"]*)"', json.dumps(answer.json()))
        assert links
        assert all(link.startswith("/mlflow/") for link in links)
    assert _drawn(site, "/mlflow/dashboards/", "https://evil.example").status_code == 403


def test_downloads_and_the_client_work_through_nginx(site: str, tmp_path: Path) -> None:
    table = requests.get(f"{site}/dashboards/data/overview/newest.csv", timeout=60)
    assert table.status_code == 200
    assert len(table.text.splitlines()) > 10
    client = MlflowClient(site)
    run = client.create_run(client.create_experiment("through nginx")).info.run_id
    client.log_metric(run, "train/loss", 0.5)
    content = bytes(range(256)) * 8192  # 2 MB: nginx by itself takes one
    (tmp_path / "sent.bin").write_bytes(content)
    client.log_artifact(run, str(tmp_path / "sent.bin"))
    assert client.get_run(run).data.metrics == {"train/loss": 0.5}
    assert Path(client.download_artifacts(run, "sent.bin", str(tmp_path / "."))).read_bytes() == content
    shown = requests.get(f"{site}/get-artifact", params={"run_uuid": run, "path": "sent.bin"}, timeout=60)
    assert shown.content == content
