"""``python -m dashboards --tracking_uri …``: serves the dashboards in a separate process.

This is for users who do not run their MLflow server themselves.  The process reads the store with the credentials of
the user who starts it (``MLFLOW_TRACKING_USERNAME`` …), so anyone who can reach its port sees everything that this user
may read.  It therefore listens on 127.0.0.1 by default.
"""

import contextlib
import io
import logging
import os
import sys

import click
import flask
from werkzeug.serving import make_server

from dashboards.app import build_app
from dashboards.guard import LOCAL_HOSTS, refuse_foreign_hosts, refuse_foreign_origins, set_security_headers
from dashboards.repository import RunRepository
from rsc_mlflow import plugins
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.frame import RunStore

PREFIX = "/"


def build_server(tracking_uri: str, ui_url: str = "", allowed_hosts: tuple[str, ...] = ()) -> flask.Flask:
    """Return a Flask app that serves the dashboards of one tracking URI.

    Args:
        tracking_uri: any MLflow tracking URI.
        ui_url: address of MLflow's UI; default: the tracking URI, if it starts with http.
        allowed_hosts: patterns of accepted ``Host`` headers other than localhost.
    """
    if not ui_url and tracking_uri.startswith(("http://", "https://")):
        ui_url = tracking_uri
    store = RunStore(tracking_uri)
    repository = RunRepository(store, Details(lambda: store.client), ui=f"{ui_url.rstrip('/')}/" if ui_url else "")
    server = flask.Flask("rsc_dashboards")
    refuse_foreign_hosts(server, (*LOCAL_HOSTS, *allowed_hosts))
    refuse_foreign_origins(server, PREFIX)
    set_security_headers(server, PREFIX)
    build_app(repository, server, PREFIX)
    store.refresh_soon()
    return server


@click.command(context_settings={"max_content_width": 100})
@click.option("--tracking_uri", envvar="MLFLOW_TRACKING_URI", required=True, help="Any MLflow tracking URI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8050, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--ui_url", default="", help="Address of MLflow's UI. Default: the tracking URI, if it is http.")
@click.option(
    "--allowed_hosts", default="", help="Other accepted Host headers, as a comma list, e.g. lab.example:8050."
)
def main(tracking_uri: str, host: str, port: int, ui_url: str, allowed_hosts: str) -> None:
    """Serve dashboards that compare the runs of an MLflow tracking store."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # pages report a missing server quickly
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    try:
        plugins.load()
    except InputError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    hosts = tuple(part.strip() for part in allowed_hosts.split(",") if part.strip())
    app = build_server(tracking_uri, ui_url, hosts)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # hides werkzeug's message about a port in use
            server = make_server(host, port, app, threaded=True)
    except (OSError, SystemExit):
        click.echo(f"error: cannot listen on {host}:{port}; choose another --port (0: any free one)", err=True)
        sys.exit(2)
    click.echo(f"Dashboards: http://{host}:{server.server_port}{PREFIX}")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
