"""TLS under a connection: what a client sends is decrypted for it, what it writes encrypted.

    accept -> first byte -> handshake -> Connection, which sees an ordinary transport
                  '- no TLS: one who speaks plain HTTP is told so in plain HTTP

OpenSSL works on memory here, not on the socket: a megabyte goes to the kernel in one call, and what still
waits for the client is known to the byte. Why not the loop's own: docs/decisions/0006.
Source: RFC 8446, RFC 5246; the transports of asyncio.
"""

import asyncio
import ctypes
import errno
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from moorage.server.connection import LINGER_S, Connection
from moorage.server.worker import Worker

PIECE_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024
_HANDSHAKE = b"\x16"
# the names and numbers of malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 1024 * 1024
_ACCEPTED_AT_ONCE = 64
_TOLD_MAX = 64
"""How many more connections than are served are let in to be told so."""
_TRY_AGAIN_S = 1.0
_LINGER_MAX_BYTES = 16 * 1024 * 1024
_NO_MORE_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def keep_memory() -> None:
    """Let glibc keep up to 32 MiB that was freed; another libc goes on as it does.

    Each piece is made and freed. Given back to the kernel and taken again, page by page, its memory would
    cost more than its encryption.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What new connections need. All of it is asked anew for each of them."""

    worker: Worker
    context: Callable[[], ssl.SSLContext]
    """The certificate of this moment."""
    answer_plain: Callable[[str], bytes]
    """A whole reply for a client address that spoke plain HTTP."""
    failed: Callable[[str, str], None]
    """Told the client address and the reason when a handshake failed."""
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(_READ_BYTES)))
    """Where encrypted bytes go: one place for all, as they are decrypted before any others are read."""


class TlsListener:
    """Takes connections from a listening socket."""

    def __init__(self, own: socket.socket, arrivals: Arrivals) -> None:
        self._socket = own
        self._arrivals = arrivals
        self._loop = arrivals.worker.loop
        self._is_closed = False
        self._listen()

    def _listen(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Take no more."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _accept(self) -> None:
        worker = self._arrivals.worker
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _ = self._socket.accept()
            except OSError as error:
                if error.errno in _NO_MORE_FILES:
                    self._loop.remove_reader(self._socket.fileno())
                    self._loop.call_later(_TRY_AGAIN_S, self._listen)
                return
            if len(worker.connections) >= worker.limits.connections + _TOLD_MAX:
                accepted.close()
                continue
            accepted.setblocking(False)  # noqa: FBT003 - the library's
            with suppress(OSError):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            TlsTransport(accepted, self._arrivals)


class TlsTransport(asyncio.Transport):
    """One client's socket. Until the handshake is over it stands among the connections itself."""

    def __init__(self, own: socket.socket, arrivals: Arrivals) -> None:
        super().__init__()
        self.is_idle = True
        self.since = arrivals.worker.loop.time()
        self._socket = own
        self._arrivals = arrivals
        self._loop = arrivals.worker.loop
        self._connection: Connection | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._plain: deque[memoryview] = deque()
        self._plain_bytes = 0
        self._encrypted = memoryview(b"")
        self._is_reading = self._is_at_end = False
        self._is_waiting_to_write = self._has_paused = False
        self._is_ending = self._has_parted = self._is_closing = self._is_lost = False
        self._lingered_bytes = 0
        arrivals.worker.connections.add(self)
        self.resume_reading()

    # an arrival, as the worker sees it

    def check_time(self, now: float) -> None:
        """End a handshake that takes longer than a header may."""
        if now - self.since > self._arrivals.worker.limits.header_timeout_s:
            self.abort()

    def stop_when_idle(self) -> None:
        """No request has come yet."""
        self.abort()

    # the first byte and the handshake

    def _begin(self) -> None:
        """Tell TLS from anything else by the first byte; nothing is taken from the socket for it."""
        try:
            first = self._socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            self._lose_unless_blocked(error)
            return
        if first == _HANDSHAKE:
            self._tls = self._arrivals.context().wrap_bio(self._incoming, self._outgoing, server_side=True)
            self._receive()
        elif first:
            self._answer_plain()
        else:
            self._lose(None)

    def _answer_plain(self) -> None:
        """Say in plain HTTP that this is no place for it; listen to the rest for a moment, then close."""
        self._is_ending = self._has_parted = True
        try:
            self._socket.send(self._arrivals.answer_plain(self._client))
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lose(error)
            return
        self._loop.call_later(LINGER_S, self.abort)

    @property
    def _client(self) -> str:
        try:
            return str(self._socket.getpeername()[0])
        except OSError:
            return ""

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError as error:
            # the alert that tells the client why
            self._send()
            self._arrivals.failed(self._client, error.reason or str(error))
            self._lose(error)
            return
        self._send()
        self._arrivals.worker.connections.discard(self)
        if not self._is_lost:
            self._connection = Connection(self._arrivals.worker)
            self._connection.connection_made(self)

    # reading

    def is_reading(self) -> bool:
        """Whether the client is listened to."""
        return self._is_reading

    def pause_reading(self) -> None:
        """Let what the client sends wait in the kernel."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._socket.fileno())

    def resume_reading(self) -> None:
        """Listen again."""
        if not self._is_reading and not self._is_closing and not self._is_lost:
            self._is_reading = True
            if not self._is_at_end:
                self._loop.add_reader(self._socket.fileno(), self._receive)

    def _receive(self) -> None:
        if self._tls is None and not self._has_parted:
            self._begin()
            return
        buffer = self._arrivals.buffer
        try:
            count = self._socket.recv_into(buffer)
        except OSError as error:
            self._lose_unless_blocked(error)
            return
        if not count:
            self._receive_end()
        elif self._has_parted:
            self._linger(count)
        else:
            self._incoming.write(buffer[:count])
            self._take_in()

    def _take_in(self) -> None:
        """Go on with the handshake, then hand over whatever can be decrypted."""
        tls = self._tls
        if tls is not None and self._connection is None:
            self._shake_hands(tls)
        connection = self._connection
        if tls is None or connection is None or self._is_lost:
            return
        buffer, count, is_end = connection.get_buffer(-1), 0, False
        try:
            while self._incoming.pending and not is_end:
                got = tls.read(len(buffer) - count, buffer[count:])
                count += int(got)
                is_end = not got
        except ssl.SSLWantReadError:
            # a record of which the rest is still to come
            pass
        except ssl.SSLError as error:
            self._lose(error)
            return
        if self._outgoing.pending:
            self._send()
        if count and not self._is_lost:
            connection.buffer_updated(count)
        if is_end and not self._is_lost:
            self._receive_end()

    def _linger(self, count: int) -> None:
        """What comes after the last word is thrown away; past a limit it waits in the kernel, for the end."""
        self._lingered_bytes += count
        if self._lingered_bytes > _LINGER_MAX_BYTES:
            self.pause_reading()

    def _receive_end(self) -> None:
        """The client will send no more."""
        if self._connection is None or self._has_parted:
            self._lose(None)
            return
        if not self._is_at_end:
            self._is_at_end = True
            if self._is_reading:
                self._loop.remove_reader(self._socket.fileno())
            if not self._connection.eof_received():
                self.close()

    # writing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is one limit: whoever writes waits while anything does."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has yet to take."""
        return self._plain_bytes + len(self._encrypted)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; what the client does not take now waits, and must not change until it has."""
        if self._is_lost or self._is_ending or not data:
            return
        self._plain.append(memoryview(data))
        self._plain_bytes += len(data)
        if not self._is_waiting_to_write:
            self._send()
        if self.get_write_buffer_size() and not self._has_paused and self._connection is not None:
            self._has_paused = True
            self._connection.pause_writing()

    def _send(self) -> None:
        """Give the kernel what waits, encrypted piece by piece as it takes them."""
        while not self._is_lost and (self._encrypted or self._encrypt()):
            try:
                sent = self._socket.send(self._encrypted)
            except OSError as error:
                if self._is_blocked(error) and not (self._is_closing and self._has_parted):
                    self._wait_to_write()
                else:
                    self._lose(error)
                return
            self._encrypted = self._encrypted[sent:]
        if not self._is_lost:
            self._sent_all()

    def _encrypt(self) -> bool:
        """Make the next piece ready; False when there is none."""
        if self._plain and self._tls is not None:
            first = self._plain[0]
            piece = first[:PIECE_BYTES]
            try:
                self._tls.write(piece)
            except ssl.SSLError as error:
                self._lose(error)
                return False
            self._plain_bytes -= len(piece)
            if len(piece) == len(first):
                self._plain.popleft()
            else:
                self._plain[0] = first[PIECE_BYTES:]
        self._encrypted = memoryview(self._outgoing.read())
        return bool(self._encrypted)

    def _wait_to_write(self) -> None:
        if not self._is_waiting_to_write:
            self._is_waiting_to_write = True
            self._loop.add_writer(self._socket.fileno(), self._send)

    def _sent_all(self) -> None:
        if self._is_waiting_to_write:
            self._is_waiting_to_write = False
            self._loop.remove_writer(self._socket.fileno())
        if self._has_paused and self._connection is not None:
            self._has_paused = False
            self._connection.resume_writing()
        if self._is_ending and not self._plain and not self._is_lost:
            self._part()

    # the end

    def can_write_eof(self) -> bool:
        """TLS has a last word of its own, and the socket's end is shut behind it."""
        return True

    def write_eof(self) -> None:
        """Say, after what has been written, that this is all; go on listening."""
        if not self._is_ending and not self._is_lost:
            self._is_ending = True
            if not self._is_waiting_to_write:
                self._part()

    def _part(self) -> None:
        """Send the last word and shut this end. What comes from now on is not decrypted any more."""
        if not self._has_parted:
            self._has_parted = True
            if self._tls is not None:
                with suppress(ssl.SSLError):
                    self._tls.unwrap()
            self._send()
            return
        if self._is_closing:
            self._lose(None)
        else:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._is_closing or self._is_lost

    def close(self) -> None:
        """Close, after what has been written."""
        if self._is_closing or self._is_lost:
            return
        self.pause_reading()
        self._is_closing = self._is_ending = True
        if not self._is_waiting_to_write:
            self._part()
        elif self._has_parted:
            # it is the last word that was not taken
            self._lose(None)

    def abort(self) -> None:
        """Close now; what was not sent is lost."""
        self._lose(None)

    def _lose_unless_blocked(self, error: OSError) -> None:
        if not self._is_blocked(error):
            self._lose(error)

    @staticmethod
    def _is_blocked(error: OSError) -> bool:
        return isinstance(error, BlockingIOError | InterruptedError)

    def _lose(self, error: Exception | None) -> None:
        """The socket is done with. The connection is told from the loop, not from within its own call."""
        if self._is_lost:
            return
        self.pause_reading()
        self._is_lost = True
        if self._is_waiting_to_write:
            self._loop.remove_writer(self._socket.fileno())
        self._plain.clear()
        self._plain_bytes = 0
        self._encrypted = memoryview(b"")
        self._arrivals.worker.connections.discard(self)
        self._loop.call_soon(self._close_socket, error)

    def _close_socket(self, error: Exception | None) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connection_lost(error)
        self._socket.close()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """The names that a connection asks for: `peername`, `sockname`, `socket`, `ssl_object`."""
        try:
            match name:
                case "peername":
                    return self._socket.getpeername()
                case "sockname":
                    return self._socket.getsockname()
                case "socket":
                    return self._socket
                case "ssl_object":
                    return self._tls
        except OSError:
            pass
        return default
