"""One module a page; ``PAGES`` is their order in the menu."""

from dashboards.pages import compare, factors, mitigation, overview, privacy, scores, unlearning, weights
from dashboards.panels import Page

PAGES: tuple[Page, ...] = (
    overview.PAGE,
    scores.PAGE,
    factors.PAGE,
    unlearning.PAGE,
    privacy.PAGE,
    mitigation.PAGE,
    weights.PAGE,
    compare.PAGE,
)
BY_PATH: dict[str, Page] = {page.path: page for page in PAGES}
