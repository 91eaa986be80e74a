"""A proxy that does what proxies in front of registries do wrong; each fault is on by its name."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers import find_free_port

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "date", "server"}
_BAD_GATEWAY = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_TOO_LARGE = b"<html><body><h1>413 Request Entity Too Large</h1></body></html>"


class Front(http.server.ThreadingHTTPServer):
    """Passes on to a registry on loopback."""

    daemon_threads = True

    def __init__(self, backend: int, faults: frozenset[str]) -> None:
        self.backend = backend
        self.faults = faults
        super().__init__(("127.0.0.1", find_free_port()), _Handler)
        self.address = f"127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        faults = self.server.faults
        self.close_connection = True
        length = int(self.headers.get("content-length", 0))
        if "registry stopped" in faults:
            self._answer(502, {"content-type": "text/html"}, _BAD_GATEWAY)
            return
        if "body limit" in faults and length > 1024 * 1024:
            self._answer(413, {"content-type": "text/html"}, _TOO_LARGE)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        if "host not passed on" in faults:
            headers["Host"] = f"127.0.0.1:{self.server.backend}"
        backend = http.client.HTTPConnection("127.0.0.1", self.server.backend, timeout=30)
        # what it is asked in these tests needs no body to be refused
        headers["Content-Length"] = "0"
        backend.request(self.command, self.path, headers=headers)
        reply = backend.getresponse()
        body = reply.read()
        backend.close()
        passed = {
            name.lower(): value for name, value in reply.getheaders() if name.lower() not in _HOP_BY_HOP
        }
        if "location rewritten" in faults and "location" in passed:
            passed["location"] = f"http://inside:5000{passed['location']}"
        if "another path" in faults:
            passed.pop("docker-distribution-api-version", None)
        self._answer(reply.status, passed, body)

    do_GET = do_POST = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - the library's names

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in (headers | {"content-length": str(len(body)), "connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        if "clock" in self.server.faults:
            return "Thu, 01 Jan 2026 00:00:00 GMT"
        return super().date_time_string(timestamp)

    def handle_expect_100(self) -> bool:
        return True

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def front(backend: int, *faults: str) -> Iterator[Front]:
    """A proxy with these faults, for as long as it is needed."""
    server = Front(backend, frozenset(faults))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
