"""Connections to other registries: one request, and its answer as it comes. Knows nothing of registries.

Neither a redirect nor a challenge is acted on here. What changes nothing is sent once more by aiohttp when
the connection is cut before there is an answer: one that was kept may have been closed meanwhile. Each
failure is an `UpstreamFailure`, whose sentence never has a URL's query in it: that may be a signature.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.request import getproxies_environment, proxy_bypass
from weakref import WeakSet

import aiohttp
from yarl import URL

from moorage.connecting import Addresses, AddressRefused, in_words
from moorage.mirrors.asking import Failed, Unfit, Unreachable, UpstreamFailure
from moorage.upstream.failures import BODY_MAX_BYTES, Cut, failure_of
from moorage.upstream.places import Place
from moorage.upstream.resolving import Names

CONNECT_WITHIN_S: Final = 10.0
STALL_S: Final = 30.0
"""A body of which nothing comes for this long has failed."""

KEEP_WITHIN_S: Final = 300.0
"""What is pushed has to be answered by then: large blobs are hashed and moved first."""

BODY_WITHIN_S: Final = 60.0
"""All of a small body must be here by then."""

_READ_BUFFER_BYTES: Final = 256 * 1024
_HEADER_MAX_BYTES: Final = 16 * 1024
_HEADERS_MAX: Final = 128
_DISCARD_MAX_BYTES: Final = 64 * 1024
_CONNECTIONS_MAX: Final = 256
_CONTEXTS_MAX: Final = 64
_GOODBYE_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.005
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN_S, sock_read=STALL_S)
_PUSH_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=CONNECT_WITHIN_S, sock_read=KEEP_WITHIN_S
)
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "moorage"}

SocketFactory = Callable[[tuple[Any, ...]], socket.socket]
Body = bytes | AsyncIterator[bytes] | None


class Reply:
    """An answer whose head is here. Whoever has it reads it to its end, or closes it."""

    def __init__(self, response: aiohttp.ClientResponse, place: Place) -> None:
        self._response = response
        self.place = place
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def get_all(self, name: str) -> list[str]:
        """Each value of a header."""
        return self._response.headers.getall(name, [])

    def check_plain(self) -> None:
        """Refuse a body that is not what it stands for, as a compressed one.

        Raises Failed.
        """
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in {"identity", ""}:
            raise Failed(f"{self.place.name} sent a compressed body, which was not asked for")

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes.

        Raises Failed when it is cut, or nothing comes for STALL_S.
        """
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _explain(error, self.place.name) from error

    async def read(self, max_bytes: int) -> bytes:
        """The whole of a small body.

        Raises Unfit for one that is larger; Failed, also for one that is compressed, or not here within
        BODY_WITHIN_S.
        """
        self.check_plain()
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                async for piece in self.pieces():
                    body += piece
                    if len(body) > max_bytes:
                        raise Unfit(f"{self.place.name} sent more than {max_bytes} bytes")
        except TimeoutError as error:
            raise Failed(f"{self.place.name} did not send its answer within {BODY_WITHIN_S:g} s") from error
        finally:
            self.close()
        return bytes(body)

    async def explain(self) -> UpstreamFailure:
        """What an answer that is no good one means; it is read."""
        try:
            body = await self.read(BODY_MAX_BYTES)
        except UpstreamFailure:
            body = b""
        return failure_of(self.place.name, self.status, self.headers.get("Retry-After"), body)

    async def discard(self) -> None:
        """Read the rest of it if that is little, so that the connection is of use again."""
        try:
            await self.read(_DISCARD_MAX_BYTES)
        except UpstreamFailure:
            self.close()

    def close(self) -> None:
        """Be done with it: its connection ends if there is more to come."""
        self._response.close()


class Connections:
    """Those of one process, in one event loop."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._proxies = getproxies_environment()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        # each connection resolves the name and connects to what it was given: no second answer can differ
        self._secure = _open_session(self._tracked(addresses.open_socket))
        self._plain = _open_session(self._tracked(addresses.open_listed_socket))
        # to a proxy of the operator's, which connects to what it likes
        self._proxied = _open_session(self._tracked(lambda found: socket.socket(*found[:3])))
        self._contexts: OrderedDict[tuple[str, bool], ssl.SSLContext] = OrderedDict()

    async def close(self) -> None:
        """Close the connections; when this returns none is open."""
        for session in (self._secure, self._plain, self._proxied):
            await session.close()
        # some say goodbye by TLS first, and aiohttp does not wait for it
        if await self._have_all_closed():
            return
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        await self._have_all_closed()

    async def _have_all_closed(self) -> bool:
        """Whether they have within _GOODBYE_S."""
        until_s = time.monotonic() + _GOODBYE_S
        while any(each.fileno() >= 0 for each in self._sockets):
            if time.monotonic() >= until_s:
                return False
            await asyncio.sleep(_LOOK_EVERY_S)
        return True

    async def send(
        self,
        method: str,
        place: Place,
        headers: Mapping[str, str],
        body: Body,
        authority: str,
        *,
        at_home: bool,
    ) -> Reply:
        """Send a request, wait for the head of the answer.

        `authority`: PEM of the registry's authorities; away from the registry the system's count too.
        Raises an UpstreamFailure.
        """
        proxy = self._find_proxy(place)
        try:
            response = await self._session_for(place, proxy).request(
                method,
                URL(place.url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                ssl=self._context(authority, at_home=at_home) if place.scheme == "https" else True,
                proxy=proxy,
                timeout=_PUSH_TIMEOUT if method in {"PATCH", "PUT"} else _TIMEOUT,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _explain(error, place.name) from error
        return Reply(response, place)

    def _tracked(self, open_socket: SocketFactory) -> SocketFactory:
        def open_one(found: tuple[Any, ...]) -> socket.socket:
            opened = open_socket(found)
            self._sockets.add(opened)
            return opened

        return open_one

    def _session_for(self, place: Place, proxy: str | None) -> aiohttp.ClientSession:
        if proxy is not None:
            return self._proxied
        return self._secure if place.scheme == "https" else self._plain

    def _find_proxy(self, place: Place) -> str | None:
        """The proxy of the environment for a place; none for http, nor for this machine.

        Raises Unreachable for an address, not a name, that may not be asked.
        """
        proxy = self._proxies.get("https")
        if not proxy or place.scheme != "https" or place.host == "localhost":
            return None
        try:
            ip = ipaddress.ip_address(place.host)
        except ValueError:
            ip = None
        if ip is not None and ip.is_loopback:
            return None
        if proxy_bypass(f"{place.host}:{place.port}"):
            return None
        if ip is not None:
            try:
                self._addresses.check(place.host)
            except AddressRefused as refusal:
                raise Unreachable(f"no connection to {place.name}: {refusal.strerror}") from refusal
        return proxy

    def _context(self, authority: str, *, at_home: bool) -> ssl.SSLContext:
        """Raises ssl.SSLError."""
        key = (authority, at_home or not authority)
        context = self._contexts.get(key)
        if context is None:
            context = ssl.create_default_context(cadata=authority or None)
            if authority and not at_home:
                context.load_default_certs()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._contexts[key] = context
            if len(self._contexts) > _CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context


def _open_session(open_socket: SocketFactory) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        use_dns_cache=False, resolver=Names(), limit=_CONNECTIONS_MAX, socket_factory=open_socket
    )
    # `trust_env` would show what ~/.netrc has to whoever asks
    return aiohttp.ClientSession(
        connector=connector,
        timeout=_TIMEOUT,
        headers=_HEADERS,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_READ_BUFFER_BYTES,
        max_line_size=_HEADER_MAX_BYTES,
        max_field_size=_HEADER_MAX_BYTES,
        max_headers=_HEADERS_MAX,
    )


def _explain(error: Exception, host: str) -> UpstreamFailure:  # noqa: C901, PLR0912 - one line for each
    """What went wrong, for a person."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return Unreachable(f"the proxy answered {error.status} for {host}")
        case aiohttp.InvalidURL():
            return Unreachable(f"{host} is no name of a host")
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(f"the name {host} does not resolve: {in_words(error.os_error)}")
        case aiohttp.ClientConnectorCertificateError():
            return Unreachable(
                f"the certificate of {host} is not trusted: {in_words(error.certificate_error)}"
            )
        case aiohttp.ClientConnectorSSLError():
            return Unreachable(f"no TLS with {host}: {in_words(error.os_error)}")
        case aiohttp.ClientConnectorError():
            return Unreachable(f"no connection to {host}: {in_words(error.os_error)}")
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(f"no connection to {host} within {CONNECT_WITHIN_S:g} s")
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return Failed(f"{host} has sent nothing for {STALL_S:g} s or more")
        case aiohttp.ClientPayloadError():
            return Failed(f"{host} broke off in the middle of its answer")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return Cut(f"{host} broke the connection off")
        case ssl.SSLError():
            return Unreachable(f"the authority that is set for {host} cannot be read: {in_words(error)}")
        case aiohttp.ClientResponseError():
            return Failed(f"{host} answers with something that is not HTTP, or too large a head")
        case _:
            return Failed(f"{host} could not be asked: {type(error).__name__}")
