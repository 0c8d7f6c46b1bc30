"""What stands between a client and a real server: it loses answers or refuses, as a test wants it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import requests

Fault = Callable[[str, str], str]
"""(method, path) → "lose" the answer to a request that was carried out, "refuse" it with 503, be "away", or ""."""


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to ``backend`` and answers as ``fault`` says."""

    daemon_threads = True

    def __init__(self, backend: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = backend
        self.fault: Fault = lambda method, path: ""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(self.command, urlsplit(self.path).path)
        if fault == "refuse":
            self.send_error(503)
        if fault in ("refuse", "away"):
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        answer = requests.request(
            self.command, self.server.backend + self.path, data=body, headers=headers, timeout=120
        )
        if fault != "lose":
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815 - names of http.server

    def log_message(self, *arguments: object) -> None:
        """Nothing: the tests look at what is stored."""


@contextmanager
def faulty_proxy(backend: str) -> Iterator[FaultyProxy]:
    """A proxy for the time of the block."""
    with FaultyProxy(backend) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def once(fault: str, applies: Callable[[str, str], bool]) -> Fault:
    """The fault for the first request of each method and path to which it applies."""
    seen: set[tuple[str, str]] = set()
    lock = threading.Lock()

    def decide(method: str, path: str) -> str:
        with lock:
            if not applies(method, path) or (method, path) in seen:
                return ""
            seen.add((method, path))
            return fault

    return decide
