"""A headless Chromium for screenshots and browser tests that reaches only local addresses."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
SCRIPT_SECONDS = 180
"""Maximum time that a script waits for a page; WebGL without a graphics card is slow on a busy machine."""
_ITS_OWN = ("chrome:", "chrome-untrusted:")


def found() -> tuple[str, str] | None:
    """Return the paths of Chromium and its driver (``RSC_CHROMIUM``, ``RSC_CHROMEDRIVER`` or from PATH), or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = os.environ.get("RSC_CHROMIUM") or next((p for p in map(shutil.which, names) if p), None)
    driver = os.environ.get("RSC_CHROMEDRIVER") or shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def chromium(downloads: Path | None = None, *, network: bool = False) -> Iterator[webdriver.Chrome]:
    """Open a browser with a new profile for the duration of the block.

    Args:
        downloads: folder for downloads.
        network: log the requested addresses, see :func:`asked`.

    Raises:
        RuntimeError: Chromium or its driver is not installed.
    """
    paths = found()
    if paths is None:
        raise RuntimeError("no Chromium found; apt-get install chromium chromium-driver, or set RSC_CHROMIUM")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = paths[0]
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        if downloads:
            options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        logs = {"browser": "ALL", "performance": "ALL"} if network else {"browser": "ALL"}
        options.set_capability("goog:loggingPrefs", logs)
        driver = webdriver.Chrome(options=options, service=Service(paths[1]))
        driver.set_script_timeout(SCRIPT_SECONDS)
        try:
            yield driver
        finally:
            driver.quit()


def asked(driver: webdriver.Chrome) -> list[str]:
    """Return the addresses that pages have requested since the last call, over any protocol.

    Addresses of content in the page (``data:``, ``blob:``) and of Chromium's own pages (``chrome:`` and
    ``chrome-untrusted:``, such as the first tab) are left out.  The browser must be opened with ``network``.
    """
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        event = message["params"]
        if message["method"] == "Network.webSocketCreated":
            found.append(event["url"])
        elif message["method"] == "Network.requestWillBeSent" and not event["documentURL"].startswith(_ITS_OWN):
            found.append(event["request"]["url"])
    return [address for address in found if not address.startswith(("data:", "blob:", *_ITS_OWN))]


def resize(driver: webdriver.Chrome, width: int, height: int) -> None:
    """Set the size of the page in CSS pixels; a width below 500 emulates a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
