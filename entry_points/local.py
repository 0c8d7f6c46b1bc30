"""The commands ``quickstart`` and ``serve``, which are not entry points of the MLproject."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from entry_points.command import command
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.declarations import TOUR
from rsc_mlflow.experiments.tour_options import TourOptions
from rsc_mlflow.fields import Options, integer, option, text
from rsc_mlflow.messages import answer


@dataclass(frozen=True)
class Local:
    """A command that is neither an experiment nor in the MLproject.

    Attributes:
        name: name of the command.
        summary: what it does, in one sentence.
        options_class: the options.
        run: called with the options; may return an exit status.
    """

    name: str
    summary: str
    options_class: type[Options]
    run: Callable[[Any], int | None]

    def command(self) -> click.Command:
        """Return the click command."""
        return command(self.name, self.options_class, self.run, self.summary)


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Options):
    """Options of ``serve``."""

    host: str = option("Address to listen on.", text(), "127.0.0.1")
    port: int = option("Port to listen on.", integer(1, 65_535), 5000)


def quickstart(options: TourOptions) -> None:
    """Run the tour and print how to view its runs."""
    TOUR.command(options)
    answer("To view the runs and the dashboards, run: rsc serve")


def serve(options: ServeOptions) -> NoReturn:
    """Replace this process by MLflow's server with the dashboards.

    Raises:
        InputError: the port is not available, or the tracking URI is a server.
    """
    import mlflow

    from rsc_mlflow.tracking.store import redact_passwords

    uri = mlflow.get_tracking_uri()
    shown = redact_passwords(uri)
    if uri.startswith(("http://", "https://")):
        raise InputError(f"MLFLOW_TRACKING_URI is already a server: {shown!r}. Open it in a browser.")
    _check_free(options.host, options.port)
    address = f"http://{options.host}:{options.port}"
    answer(f"MLflow      {address}/#/experiments?workflowType=machine_learning")
    answer(f"dashboards  {address}/dashboards/")
    answer(f"store       {shown}")
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # MLflow's background jobs are for GenAI evaluation
    where = ["--host", options.host, "--port", str(options.port), "--workers", "1", "--backend-store-uri", uri]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", "--app-name", "rsc", *where])


def _check_free(host: str, port: int) -> None:
    try:
        with contextlib.closing(socket.create_server((host, port))):
            pass
    except OSError as error:
        raise InputError(f"Cannot listen on {host}:{port}. Use another port, such as 5001, or another host.") from error


LOCAL = (
    Local("quickstart", "Train on the embedded digits and print a table of spurious scores.", TourOptions, quickstart),
    Local("serve", "Serve MLflow's UI and the dashboards of the current tracking store.", ServeOptions, serve),
)
