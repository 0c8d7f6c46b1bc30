"""One module per page: each module here that defines ``PAGE`` is a page, in the order of :attr:`Page.place`."""

import importlib
import pkgutil

from dashboards.panels import Page


def _found() -> tuple[Page, ...]:
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    pages = [module.PAGE for module in modules if hasattr(module, "PAGE")]
    return tuple(sorted(pages, key=lambda page: page.place))


PAGES = _found()
_BY_PATH: dict[str, Page] = {page.path: page for page in PAGES}


def page_at(path: str) -> Page | None:
    """Return the page with a path relative to the dashboards (``overview`` is the first page), or None."""
    return _BY_PATH.get("" if path == "overview" else path)
