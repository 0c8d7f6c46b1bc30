"""Rejects requests that pages of other sites send through a user's browser.

MLflow's server rejects foreign ``Host`` headers on all paths, but foreign origins only on its API paths, which do not
include the callbacks of the dashboards.  Dashboards in a separate process need both checks.
"""

import fnmatch
from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Flask, Response, request

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[[]::1]", "localhost:*", "127.0.0.1:*", "[[]::1]:*")


def is_foreign(origin: str | None, host: str, allowed: Sequence[str] = ()) -> bool:
    """Return whether a request's ``Origin`` is neither the host that it was sent to nor an allowed one.

    Args:
        origin: the header; None or empty is not foreign, because browsers send no origin for typed URLs and links.
        host: the ``Host`` header.
        allowed: origins such as ``https://lab.example``; ``*`` inside matches anything, ``*`` alone allows all.
    """
    if not origin:
        return False
    if origin != "null" and urlsplit(origin).netloc.lower() == host.lower():
        return False
    return not any(fnmatch.fnmatchcase(origin, pattern) for pattern in allowed)


def refuse_foreign_origins(app: Flask, prefix: str, allowed: Sequence[str] = ()) -> None:
    """Respond with 403 to every request below ``prefix`` that comes from a page of another origin."""

    @app.before_request
    def origin_check() -> Response | None:
        below = request.path.startswith(prefix)
        if below and is_foreign(request.headers.get("Origin"), request.headers.get("Host", ""), allowed):
            return Response("Cross-origin request blocked\n", 403, mimetype="text/plain")
        return None


def refuse_foreign_hosts(app: Flask, allowed: Sequence[str]) -> None:
    """Respond with 403 to every request whose ``Host`` matches none of the patterns (against DNS rebinding)."""

    @app.before_request
    def host_check() -> Response | None:
        host = request.headers.get("Host", "")
        if any(fnmatch.fnmatchcase(host, pattern) for pattern in allowed):
            return None
        return Response("Invalid Host header; accepted: see --allowed_hosts\n", 403, mimetype="text/plain")


def set_security_headers(app: Flask, prefix: str) -> None:
    """Add response headers below ``prefix`` that forbid MIME sniffing, framing by other sites and caching of data."""

    @app.after_request
    def headers(response: Response) -> Response:
        if request.path.startswith(prefix):
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
            response.headers.setdefault("X-Frame-Options", "SAMEORIGIN")
            response.headers.setdefault("Referrer-Policy", "same-origin")
            if "/assets/" not in request.path and "_dash-component-suites" not in request.path:
                response.headers["Cache-Control"] = "private, no-store"
        return response
