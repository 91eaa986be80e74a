"""What is said about connections that never became requests: plain HTTP to TLS, handshakes that failed."""

import time

import structlog

from moorage.api.exchange import Header
from moorage.api.metrics import Metrics
from moorage.api.v2.errors import render
from moorage.errors import HttpsRequired

_SAID_EVERY_S = 60.0

log = structlog.get_logger()


class ArrivalLog:
    """One for each worker. Each of its events is logged once a minute at most: anyone can cause them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._said_at: dict[str, float] = {}

    def refuse_plain(self, client: str) -> tuple[int, list[Header], bytes]:
        """Status, headers and body for a client that spoke plain HTTP."""
        self._metrics.count_plain()
        if self._is_time_for("plain"):
            log.warning("plain_http_on_tls_port", client=client)
        reply = render(HttpsRequired())
        return reply.status, reply.headers, bytes(reply.body)

    def handshake_failed(self, client: str, reason: str) -> None:
        """A client and this server did not come to terms; mostly the client does not trust it."""
        if self._is_time_for("handshake"):
            log.info("tls_handshake_failed", client=client, reason=reason.replace("_", " ").lower())

    def _is_time_for(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._said_at.get(what, -_SAID_EVERY_S) < _SAID_EVERY_S:
            return False
        self._said_at[what] = now
        return True
