"""Downloads: tables as CSV and LaTeX, figures as PDF, SVG and PNG at a given size, and PNG artifacts."""

import html
import threading
from collections.abc import Callable
from dataclasses import dataclass

import flask

from dashboards.data import Filters
from dashboards.export import BOUNDS, FORMATS, SIZES, Size, csv_text, image_bytes, latex_table
from dashboards.figures.style import LIGHT
from dashboards.pages import page_at
from dashboards.panels import Page, Panel, Picture, panels
from dashboards.repository import RunRepository
from rsc_mlflow.errors import InputError, invalid_value

TIMEOUT_SECONDS = 0.8
MIMETYPES = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}
_ONE_BROWSER = threading.Lock()


@dataclass(frozen=True)
class Addresses:
    """URLs of a page's downloads.

    Attributes:
        prefix: path of the dashboards, with a slash at the end.
        page: the page.
        search: query string of the page.
    """

    prefix: str
    page: Page
    search: str

    def table(self, panel: Panel, kind: str) -> str:
        """Return the URL of a panel's table; ``kind`` is ``csv`` or ``tex``."""
        return f"{self.prefix}data/{self._page}/{panel.key}.{kind}{self.search}"

    def figure(self, panel: Panel, index: int, kind: str, size: str) -> str:
        """Return the URL of a panel's figure; ``kind`` is one of ``FORMATS``, ``size`` a name in ``SIZES``."""
        joined = f"{self.search}&" if self.search else "?"
        return f"{self.prefix}figure/{self._page}/{panel.key}/{index}.{kind}{joined}size={size}"

    def picture(self, picture: Picture) -> str:
        """Return the URL of a PNG artifact."""
        return f"{self.prefix}artifact/{picture.run_id}/{picture.path}"

    @property
    def _page(self) -> str:
        return self.page.path or "overview"


def register(server: flask.Flask, repository: RunRepository, prefix: str) -> None:
    """Add the routes of the downloads to a Flask app."""

    @server.get(f"{prefix}data/<page>/<panel>.<any(csv, tex):kind>", endpoint="rsc_dashboards_data")
    def data(page: str, panel: str, kind: str) -> flask.Response:
        def content(found: Panel) -> bytes:
            text = csv_text(found.table) if kind == "csv" else latex_table(found.table, caption=found.title)
            return text.encode()

        return _answer(repository, page, panel, f"{page}-{panel}.{kind}", f"text/{kind}", content)

    @server.get(f"{prefix}figure/<page>/<panel>/<int:index>.<any({', '.join(FORMATS)}):kind>", endpoint="rsc_figure")
    def figure(page: str, panel: str, index: int, kind: str) -> flask.Response:
        def content(found: Panel) -> bytes | None:
            if index >= len(found.plots):
                return None
            size = size_named(flask.request.args.get("size", "page"))
            with _ONE_BROWSER:
                return image_bytes(found.plots[index].figure, kind, size)

        return _answer(repository, page, panel, f"{page}-{panel}-{index + 1}.{kind}", MIMETYPES[kind], content)

    @server.get(f"{prefix}artifact/<run_id>/<path:path>", endpoint="rsc_artifact")
    def artifact(run_id: str, path: str) -> flask.Response:
        known = (repository.snapshot(TIMEOUT_SECONDS).runs["run_id"] == run_id).any()
        content = repository.source.picture(run_id, path) if known else None
        if content is None:
            return flask.Response("no such picture\n", 404, mimetype="text/plain")
        return flask.Response(content, 200, mimetype="image/png")


def size_named(text: str) -> Size:
    """Return a size given as a name in ``SIZES`` or as "WIDTHxHEIGHT" in centimeters.

    Raises:
        InputError: the text is neither, or the size is out of bounds.
    """
    if text in SIZES:
        return SIZES[text]
    try:
        width, height = (float(part) for part in text.split("x"))
        return Size(width, height)
    except (ValueError, InputError):
        low, high = BOUNDS["width_cm"]
        accepted = f"{', '.join(SIZES)}, or WIDTHxHEIGHT in centimeters from {low} to {high}, such as 12x8"
        raise invalid_value("size", text, accepted) from None


def _answer(
    repository: RunRepository, page: str, key: str, name: str, mimetype: str, content: Callable[[Panel], bytes | None]
) -> flask.Response:
    """Return a file made from one panel, or a response with status 400 or 404 and a line of text that says why not."""
    found = page_at(page)
    filters = Filters.parse(flask.request.query_string.decode("utf-8", "replace"))
    try:
        view = repository.view(repository.snapshot(TIMEOUT_SECONDS), filters, LIGHT)
        panel = next((p for p in panels(found, view) if p.key == key), None) if found else None
        made = content(panel) if panel is not None else None
    except InputError as error:
        return flask.Response(f"error: {error}\n", 400, mimetype="text/plain")
    if made is None:
        text = f"no data at {html.escape(page)}/{html.escape(key)}; the pages link to the available downloads\n"
        return flask.Response(text, 404, mimetype="text/plain")
    return flask.Response(made, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, mimetype=mimetype)
