"""One module per page: every module here with a ``PAGE`` is one, in the order of :attr:`Page.place` in the menu."""

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
    """The page of a path below the dashboards' address (``overview`` for the first); None if there is none."""
    return _BY_PATH.get("" if path == "overview" else path)
