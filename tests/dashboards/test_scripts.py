"""The dashboards' own JavaScript, in Chromium without a server."""

from pathlib import Path

import pytest

import dashboards
from benchmarks.browser import chromium, found

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
