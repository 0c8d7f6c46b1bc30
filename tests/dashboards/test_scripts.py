"""The dashboards' own JavaScript, in Chromium: by itself, and with a server that takes its time."""

import threading
import time
from pathlib import Path

import pytest
from werkzeug.serving import make_server

import dashboards
from benchmarks.browser import chromium, found
from benchmarks.filling import fill_store
from dashboards.__main__ import build_server
from dashboards.repository import RunRepository, VisibleRuns
from tests.integration.test_browser import _until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(found() is None, reason="needs Debian's chromium and chromium-driver"),
]


def test_a_drawn_page_writes_no_address_and_a_changed_control_only_its_own() -> None:
    call = """
      const one = (name, value) => (
        {prop_id: JSON.stringify({type: 'control', name: name, default: 'd', kind: 'one'}) + '.value', value: value});
      Object.assign(window.dash_clientside, {
        no_update: 'same', callback_context: {triggered: arguments[0].map(pair => one(...pair))}});
      return window.dash_clientside.rsc.to_address([], arguments[1]);
    """
    with chromium() as browser:
        browser.execute_script((Path(dashboards.__file__).parent / "assets/dashboards.js").read_text(encoding="utf-8"))
        for changed, search, wanted in (
            ([["facet", "x"], ["group", "d"]], "?facet=y", "same"),  # drawn for x, while the user has chosen y
            ([["facet", "x"]], "?group=g&facet=y", "?group=g&facet=x"),
            ([["facet", "d"]], "?group=g&facet=y", "?group=g"),
            ([["seed", ["1", "2"]]], "", "?seed=1&seed=2"),
            ([["seed", []]], "?seed=1", ""),
            ([["facet", "x"]], "?facet=x", "same"),
            ([["facet", "x"]], "?facet=x&a=1", "same"),
        ):
            assert browser.execute_script(call, changed, search) == wanted


def test_a_page_that_takes_longer_than_two_ticks_is_drawn_once(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawing it again would undo what the user clicked meanwhile, such as a pattern hidden by the legend."""
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    fill_store(uri, 30, artifacts=tmp_path.as_uri())
    read = RunRepository.snapshot

    def late(self: RunRepository, timeout: float = 0.0) -> VisibleRuns:
        time.sleep(2.5 if timeout else 0)  # only drawing waits for a refresh of the store
        return read(self, timeout)

    monkeypatch.setattr(RunRepository, "snapshot", late)
    count = """
      window.drawn = 0;
      const heads = list => [...list].filter(node => node.tagName === 'H1' || node.querySelector?.('h1')).length;
      new MutationObserver(changes => changes.forEach(change => { window.drawn += heads(change.addedNodes); })).observe(
        document, {childList: true, subtree: true});
    """
    refreshed = """
      const all = performance.getEntriesByType('resource').filter(one => one.name.includes('_dash-update-component'));
      const drawing = all.filter(one => one.duration > 2000);
      return drawing.length === arguments[0] && all.some(one => one.startTime > drawing.at(-1).responseEnd);
    """
    server = make_server("127.0.0.1", 0, build_server(uri, ""), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with chromium() as browser:
            browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": count})
            browser.get(f"http://127.0.0.1:{server.port}/")
            for pages in (1, 2):
                _until(browser, refreshed, pages)
                assert browser.execute_script("return window.drawn") == pages
                browser.execute_script("document.querySelector('#menu a[href*=scores]').click()")
    finally:
        server.shutdown()
