"""Renders the dashboards as one HTML file that works offline: the same pages and panels, with default options."""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import plotly.io
from plotly.offline import get_plotlyjs

from dashboards.components import is_wide, panels_class
from dashboards.data import Filters
from dashboards.figures.style import DARK, LIGHT, Theme
from dashboards.pages import PAGES
from dashboards.pages.compare import MOST
from dashboards.panels import SAME_RUNS, LogExcerpt, Note, Page, Panel, Picture, View, panels
from dashboards.repository import RunRepository, VisibleRuns
from dashboards.tables import ROWS, text_rows
from rsc_mlflow.errors import InputError, invalid_value

ASSETS, OFFLINE = Path(__file__).parent / "assets", Path(__file__).parent / "offline"

SHELL = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
 style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title><style>{style}</style></head><body>
<header><span class="brand">{title}</span><nav>{menu}</nav><div class="side">
<button id="theme-button" type="button">Light / dark</button></div></header>
<main><p class="about">{about}</p>{body}</main>
<script type="application/json" id="figures">{figures}</script>
<script type="application/json" id="settings">{settings}</script>
<script>{plotly}</script><script>{tables}</script><script>{report}</script>
</body></html>
"""


def report_html(
    repository: RunRepository,
    visible: VisibleRuns,
    filters: Filters,
    title: str,
    about: str,
    compare: Sequence[str] = (),
) -> str:
    """Return an HTML file with all pages.  The browser draws a figure when it is scrolled into view.

    Args:
        repository: source of artifacts and of the runs' addresses.
        visible: the runs.
        filters: selects runs; its options are ignored.
        title: heading.
        about: sentence below the heading: the source of the runs and the time.
        compare: ids of the runs on the page Compare, which is omitted if there are none.

    Raises:
        InputError: ``filters.filter`` is not a valid MLflow filter, or ``compare`` has more than a hundred ids or an id
            that is not among the filtered runs.
    """
    view = repository.view(visible, replace(filters, options={"run": tuple(compare)}), LIGHT)
    if unknown := [run_id for run_id in compare if run_id not in set(view.every["run_id"])]:
        raise invalid_value("compare", unknown[0], "ids of runs that match the filters")
    if len(set(compare)) > MOST:
        raise InputError(f"Invalid value for 'compare': {len(set(compare))} runs. Expected at most {MOST}.")
    figures: list[str] = []
    pages = [page for page in PAGES if page.path != "compare" or compare]
    body = "".join(_page(page, view, repository, figures) for page in pages)
    menu = "".join(f'<a href="#{page.path or "overview"}">{html.escape(page.title)}</a>' for page in pages)
    return SHELL.format(
        title=html.escape(title),
        about=html.escape(about),
        menu=menu,
        body=body,
        style=(ASSETS / "dashboards.css").read_text(),
        figures=_inline(f"[{','.join(figures)}]"),
        settings=_inline(json.dumps({"ui": repository.ui, "themes": {t.name: _neutral(t) for t in (LIGHT, DARK)}})),
        plotly=get_plotlyjs(),
        tables=(OFFLINE / "tables.js").read_text(),
        report=(OFFLINE / "report.js").read_text(),
    )


def _inline(text: str) -> str:
    """Escape JSON so that it cannot close the script element that contains it."""
    return text.replace("<", "\\u003c")


def _neutral(theme: Theme) -> dict[str, str]:
    return {"paper": theme.paper, "ink": theme.ink, "muted": theme.muted, "grid": theme.grid}


def _page(page: Page, view: View, repository: RunRepository, figures: list[str]) -> str:
    drawn = panels(page, view)
    cards = "".join(_panel(panel, repository, figures) for panel in drawn)
    name = page.path or "overview"
    head = f"<h1>{html.escape(page.title)}</h1><p class='about'>{html.escape(page.about)}</p>"
    return f'<section class="page" id="{name}">{head}<div class="{panels_class(drawn)}">{cards}</div></section>'


def _panel(panel: Panel, repository: RunRepository, figures: list[str]) -> str:
    parts = [f"<h2>{html.escape(panel.title)}</h2>"]
    parts += [f'<p class="about">{html.escape(panel.about)}</p>'] if panel.about else []
    if panel.message:
        parts.append(f'<p class="message">{html.escape(panel.message)}</p>')
    else:
        parts += [_notice(panel)] if panel.notice else []
        parts.append('<div class="plots">')
        for plot in panel.plots:
            head = f'<div class="head"><h3>{html.escape(plot.title)}</h3></div>'
            height = plot.figure.layout.height
            box = f'<div class="figure" data-figure="{len(figures)}" style="height:{height}px"></div>'
            parts.append(f'<div class="plot">{head}{box}<div class="picked"></div></div>')
            figures.append(plotly.io.to_json(plot.figure, validate=False))
        parts.append("</div>")
        parts += [_picture(picture, repository) for picture in panel.pictures]
        parts += [_note(note) for note in panel.notes]
        parts += [f'<p class="note">{html.escape(panel.note)}</p>'] if panel.note else []
        parts += [_table(panel, repository)] if len(panel.table) else []
        parts += [_log(log) for log in panel.logs]
    wide = " wide" if is_wide(panel) else ""
    return f'<section class="panel{wide}">{"".join(parts)}</section>'


def _notice(panel: Panel) -> str:
    if panel.notice_at:
        return f'<p class="note">{html.escape(SAME_RUNS.format(panel.notice_at))}</p>'
    return f'<p class="unlike">{html.escape(panel.notice)}</p>'


def _note(note: Note) -> str:
    return f"<h3>{html.escape(note.label)}</h3><p>{html.escape(note.text or 'no description')}</p>"


def _log(log: LogExcerpt) -> str:
    title, text = html.escape(log.title), html.escape(log.text)
    return f'<details class="log"><summary>{title}</summary><pre>{text}</pre></details>'


def _picture(picture: Picture, repository: RunRepository) -> str:
    content = base64.b64encode(repository.source.picture(picture.run_id, picture.path) or b"").decode()
    title = html.escape(picture.title, quote=True)
    return f'<figure><img src="data:image/png;base64,{content}" alt="{title}"><figcaption>{title}</figcaption></figure>'


def _table(panel: Panel, repository: RunRepository) -> str:
    rows = html.escape(json.dumps(text_rows(panel.table, repository)), quote=True)
    table = f'<div class="table"><div class="rows" data-rows="{rows}"></div></div>'
    if panel.show_table:
        return table
    shown = f"the first {ROWS:,} of {len(panel.table):,} rows" if len(panel.table) > ROWS else "all rows"
    return f"<details><summary>Data behind it ({shown})</summary>{table}</details>"
