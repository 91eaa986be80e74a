"""One connection: bytes in, requests to the application, replies out, in order.

    buffer_updated -> httptools -> Exchange (one request and its reply) -> the ASGI application
                                      |  receive(): body pieces, as large as what has arrived
                                      '- send(): head and body in one write; or a file, by sendfile

Source: RFC 9112; ASGI 3.0 with the `http.response.zerocopysend` extension.
"""

import asyncio
import os
import re
import socket
from collections import deque

import httptools

from moorage.server.exchange import ClientGone, Exchange, head
from moorage.server.limits import HEADERS_MAX, HEADERS_MAX_BYTES, TARGET_MAX_BYTES
from moorage.server.worker import Worker

PIPELINED_MAX = 32
LINGER_S = 2.0
_LINGER_MAX_BYTES = 16 * 1024 * 1024
_SENDFILE_BYTES = 1024 * 1024
_PIECE_MAX_BYTES = 1024 * 1024
_PIECE_MIN_BYTES = 64 * 1024
_PIECES_BUDGET_BYTES = 32 * 1024 * 1024
_EXTENSIONS: dict[str, dict[str, object]] = {"http.response.zerocopysend": {}}
_ASGI = {"version": "3.0", "spec_version": "2.5"}
# host = name / IPv4 / "[" IPv6 "]" [ ":" port ] ; RFC 9110 section 7.2, without what no host has
_HOST = re.compile(rb"[A-Za-z0-9._\-\[\]:%]*")
_VERSIONS = frozenset({"1.0", "1.1"})


class _Refused(Exception):
    """A request that is not HTTP as this server takes it; answered with a status, then closed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # connection_made sets it
        self.is_lost = False
        self.may_write = True
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._incoming: Exchange | None = None
        self.since = 0.0
        self.is_idle = True
        self._is_closing = self._is_failed = False
        self._last_words: int | None = None
        self._lingered_bytes = 0
        self._silent_bytes = 0
        self._is_silent = self._has_requested = False
        self._writable: asyncio.Future[None] | None = None
        self._stalled: tuple[float, int] | None = None
        self._socket: socket.socket | None = None
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._scheme = "http"
        self._begin_message()

    # the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self.transport = transport  # type: ignore[assignment] # a stream's
        # a single byte that the client does not take counts: it is waited for no longer than many are
        self.transport.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        if peer is None:
            # reset before it was accepted
            self.abort()
            return
        worker = self.worker
        worker.connections.add(self)
        self._client = peer[:2]
        self._server = transport.get_extra_info("sockname")[:2]
        if transport.get_extra_info("ssl_object") is not None:
            self._scheme = "https"
        self.since = worker.loop.time()
        if len(worker.connections) > worker.limits.connections and not self._make_room():
            self._refuse(503)

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest; False when all are at work."""
        idle = [each for each in self.worker.connections if each.is_idle and each is not self]
        if not idle:
            return False
        min(idle, key=lambda each: each.since).close()
        return True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's
        """Where the next bytes go: one place for all, as they are parsed before any others are read."""
        return self.worker.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        if self._is_closing or self._is_failed:
            self._lingered_bytes += nbytes
            if self._lingered_bytes > _LINGER_MAX_BYTES:
                # not cut: a proxy that still writes would take that for a failure and drop the reply
                self.transport.pause_reading()
            return
        if self.is_idle:
            self.is_idle = False
            self.since = self.worker.loop.time()
        try:
            self._feed(self.worker.buffer[:nbytes])
        except _Refused as refusal:
            self._fail(refusal.status)
        except httptools.HttpParserUpgrade:
            # no upgrade is offered: the request is answered as it stands, and is the last
            self._fail(None)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause.status if isinstance(cause, _Refused) else 400)
        self._go_on()

    def _feed(self, data: memoryview) -> None:
        """Parse. A line without an end costs the parser the square of its length, so it is cut short."""
        self._is_silent = True
        self._parser.feed_data(data)
        self._silent_bytes = self._silent_bytes + len(data) if self._is_silent else 0
        if self._silent_bytes > HEADERS_MAX_BYTES:
            raise _Refused(431)

    def eof_received(self) -> bool:
        """The client will send no more; it may still want its replies."""
        if self._incoming is not None and self._incoming.is_announced:
            self._incoming.break_body()
            return True
        return self._current is not None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        """The client is gone."""
        self.is_lost = True
        self.worker.connections.discard(self)
        if self._socket is not None:
            self.worker.loop.remove_writer(self._socket.fileno())
            self._socket.close()
        self.resume_writing()
        for exchange in (self._current, self._incoming, *self._waiting):
            if exchange is not None:
                exchange.break_body()
        self._waiting.clear()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self.may_write = False
        self._stalled = (self.worker.loop.time(), self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client took all that was written."""
        self.may_write = True
        self._stalled = None
        if self._current is None and not self.is_lost:
            self.resume_reading()
            self.worker.loop.call_soon(self._go_on)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # the parser's calls, for the message that is coming in

    def _begin_message(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_bytes = self._headers_count = 0
        self._hosts = 0
        self._is_header_over = False
        self._has_body = self._expects_continue = False

    def on_message_begin(self) -> None:
        """A request begins; it may be the next of several."""
        self._is_silent = False
        self._begin_message()
        if len(self._waiting) >= PIPELINED_MAX:
            raise _Refused(429)

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._is_silent = False
        self._url += url
        if len(self._url) > TARGET_MAX_BYTES:
            raise _Refused(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field; or one of the trailer, which nobody here reads."""
        self._is_silent = False
        name = name.lower()
        self._headers_bytes += len(name) + len(value)
        self._headers_count += 1
        if self._headers_bytes > HEADERS_MAX_BYTES or self._headers_count > HEADERS_MAX:
            raise _Refused(431)
        if self._is_header_over:
            return
        if name == b"host":
            self._hosts += 1
            if _HOST.fullmatch(value) is None:
                raise _Refused(400)
        elif name == b"expect":
            self._expects_continue = value.lower() == b"100-continue"
        elif name == b"content-length":
            self._has_body = self._has_body or value != b"0"
        elif name == b"transfer-encoding":
            self._has_body = True
            if value.lower() != b"chunked":
                raise _Refused(400)
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The header is whole: hand the request over."""
        self._is_silent = False
        self._is_header_over = self._has_requested = True
        version = self._parser.get_http_version()
        if version not in _VERSIONS or self._hosts > 1 or (self._hosts == 0 and version != "1.0"):
            raise _Refused(400)
        method = self._parser.get_method()
        path, _, query = self._url.partition(b"#")[0].partition(b"?")
        if not path.startswith(b"/"):
            path = _path_of(path, method)
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": self._scheme,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            "extensions": _EXTENSIONS,
        }
        exchange = Exchange(self, scope, is_kept=self._parser.should_keep_alive() and version != "1.0")
        exchange.expects_continue = self._expects_continue
        if not self._has_body:
            exchange.end_body()
        self._incoming = exchange
        self._waiting.append(exchange)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._is_silent = False
        if self._incoming is not None:
            first = self._current or (self._waiting[0] if self._waiting else None)
            self._incoming.feed(body, is_first=self._incoming is first)

    def on_chunk_header(self) -> None:
        """A chunk of the body begins."""
        self._is_silent = False

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._is_silent = False
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            incoming.end_body()

    # requests and replies

    def _go_on(self) -> None:
        """Start the next request if none is under way; after the last one, what has to be said."""
        while self._current is None and self.may_write and not self.is_lost and not self._is_closing:
            if self._waiting:
                self._current = self._waiting.popleft()
                self._current.start()
            elif self._last_words is not None:
                status, self._last_words = self._last_words, None
                self._refuse(status)
            else:
                return

    def finished(self, exchange: "Exchange") -> None:
        """A reply is out, or the application gave up: go on with the next request, or close."""
        self._current = None
        if self.is_lost:
            return
        if not exchange.is_sent:
            self.abort()
        elif not exchange.is_kept or self.worker.is_stopping:
            self._waiting.clear()
            self._close(is_listening=exchange.is_announced)
        elif not self.may_write:
            # the client has yet to take this reply: it gets no other, and is not listened to, until then
            self.transport.pause_reading()
        elif not self._waiting and self._last_words is None:
            self.is_idle = self._incoming is None
            self.since = self.worker.loop.time()
            self.resume_reading()
        else:
            # from the loop, not from here: a long row of requests must not become a deep stack
            self.worker.loop.call_soon(self._go_on)

    def resume_reading(self) -> None:
        """Take more of what the client sends."""
        if not self.transport.is_closing() and not self.transport.is_reading():
            self.transport.resume_reading()

    def _fail(self, status: int | None) -> None:
        """Read no further. What came whole before is answered; then `status` is, if there is one."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.is_announced:
            # it was the body that broke: the application is told, and answers
            incoming.break_body()
        elif status is None or self._is_failed:
            for exchange in (self._current, *self._waiting):
                if exchange is not None:
                    exchange.is_kept = False
        else:
            self._last_words = status
        self._is_failed = True

    def _refuse(self, status: int) -> None:
        """Answer what is no request, then close."""
        headers, body = self.worker.refuse(status)
        self.transport.write(head(status, headers, self.worker.date(), is_kept=False) + body)
        self._close(is_listening=True)

    def _close(self, *, is_listening: bool) -> None:
        """Close so that the last reply arrives: one who still writes is listened to for a moment.

        Closing while bytes come in resets the connection, and the reply with it. One who writes very
        much is not listened to any longer: it has to stop, and may find the reply.
        """
        self._is_closing = True
        self._current = None
        if self.transport.is_closing():
            return
        self.resume_reading()
        if is_listening and self.transport.can_write_eof():
            self.transport.write_eof()
            self.worker.loop.call_later(LINGER_S, self.close)
        else:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection; what was not sent is lost, which the client notices."""
        if not self.is_lost:
            self.transport.abort()

    def close(self) -> None:
        """Close, after what has been written."""
        if not self.is_lost:
            self.transport.close()

    def stop_when_idle(self) -> None:
        """Close now if nothing is under way; else after the reply."""
        if self._current is None and not self.is_lost:
            self.transport.close()

    def check_time(self, now: float) -> None:
        """End a connection that takes too long over a header, or over taking a reply."""
        limits = self.worker.limits
        if self._stalled is not None:
            since, held_bytes = self._stalled
            left_bytes = self.transport.get_write_buffer_size()
            if left_bytes < held_bytes:
                self._stalled = (now, left_bytes)
            elif now - since > limits.reader_idle_s:
                self.abort()
        elif self._current is None and not self._is_closing:
            is_kept = self.is_idle and self._has_requested
            allowed_s = limits.idle_timeout_s if is_kept else limits.header_timeout_s
            if now - self.since > allowed_s:
                self.transport.close()

    # writing, for the exchange under way

    async def drained(self) -> None:
        """Return when the client has taken all that was written.

        Raises ClientGone.
        """
        while not self.may_write and not self.is_lost:
            self._writable = self.worker.loop.create_future()
            await self._writable
        if self.is_lost:
            raise ClientGone

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Send part of an open file, without taking it into this process unless it has to be encrypted.

        Raises ClientGone when the client leaves, stalls, or the file ends early.
        """
        if self._scheme == "https":
            await self._send_encrypted(file, offset, count)
            return
        while self.transport.get_write_buffer_size():
            await asyncio.sleep(0)
            await self.drained()
        if self._socket is None:
            # a number of our own: the loop lets no one else wait on the transport's
            self._socket = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        out = self._socket.fileno()
        while count:
            if self.is_lost:
                raise ClientGone
            try:
                sent = os.sendfile(out, file, offset, min(count, _SENDFILE_BYTES))
            except BlockingIOError:
                await self._socket_writable()
                continue
            except OSError as error:
                raise ClientGone from error
            if not sent:
                raise ClientGone("the file ended early")
            offset += sent
            count -= sent
            await asyncio.sleep(0)

    async def _send_encrypted(self, file: int, offset: int, count: int) -> None:
        """Read into one buffer again and again; replies that are sent at once share a budget."""
        worker = self.worker
        worker.encrypting += 1
        try:
            size = max(_PIECE_MIN_BYTES, min(_PIECE_MAX_BYTES, _PIECES_BUDGET_BYTES // worker.encrypting))
            await self._send_by_buffer(memoryview(bytearray(min(size, count))), file, offset, count)
        finally:
            worker.encrypting -= 1

    async def _send_by_buffer(self, buffer: memoryview, file: int, offset: int, count: int) -> None:
        while count:
            read = os.preadv(file, [buffer[:count]], offset)
            if not read:
                raise ClientGone("the file ended early")
            self.transport.write(buffer[:read])
            offset += read
            count -= read
            # what waits for the client lies in the buffer
            await self.drained()
        await asyncio.sleep(0)

    async def _socket_writable(self) -> None:
        assert self._socket is not None  # noqa: S101 - set by the one caller
        loop = self.worker.loop
        writable: asyncio.Future[None] = loop.create_future()
        fd = self._socket.fileno()
        loop.add_writer(fd, _set, writable)
        timer = loop.call_later(self.worker.limits.reader_idle_s, _set, writable, ClientGone("took nothing"))
        self._writable = writable
        try:
            await writable
        finally:
            timer.cancel()
            if self._socket.fileno() == fd:
                loop.remove_writer(fd)


def _set(future: "asyncio.Future[None]", error: Exception | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _path_of(target: bytes, method: bytes) -> bytes:
    """The path of an absolute target; what CONNECT and OPTIONS * name is no path and stays as it is."""
    scheme, separator, rest = target.partition(b"://")
    if method == b"CONNECT" or not separator or scheme.lower() not in {b"http", b"https"}:
        return target
    return b"/" + rest.partition(b"/")[2]
