"""A headless Chromium for screenshots and browser tests, with nothing but local addresses to go to."""

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


def found() -> tuple[str, str] | None:
    """Paths of Chromium and its driver (``RSC_CHROMIUM``, ``RSC_CHROMEDRIVER`` or from PATH); None if absent."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = os.environ.get("RSC_CHROMIUM") or next((p for p in map(shutil.which, names) if p), None)
    driver = os.environ.get("RSC_CHROMEDRIVER") or shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def chromium(downloads: Path | None = None) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own, closed at the end.

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
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(paths[1]))
        try:
            yield driver
        finally:
            driver.quit()


def resize(driver: webdriver.Chrome, width: int, height: int) -> None:
    """Sets the page's size in CSS pixels; below 500 it is a phone's."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
