"""From an ASGI call to an endpoint and back: routes, limits, errors, counting.

The routes stand in the order of the specification's endpoints. A path is matched as it was sent and
decoded once, segment by segment; the last of the words `manifests`, `blobs`, `tags`, `referrers` is
the route's, so a repository may have any of them in its name.
"""

import os
import re
import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

import structlog

from moorage.api import signing_in
from moorage.api.exchange import Header, Receive, Reply, Request, Scope, Send, decode_segment
from moorage.api.full_disk import FullDiskLog
from moorage.api.gate import Needs
from moorage.api.manage import answering
from moorage.api.metrics import CUT, ROUTE_INDEX, Metrics
from moorage.api.operations import Operations
from moorage.api.v2 import blobs, lists, manifests, mirroring, uploads
from moorage.api.v2.errors import render
from moorage.api.v2.following import following
from moorage.api.v2.mirroring import place
from moorage.api.v2.services import Answer, Services
from moorage.errors import (
    Denied,
    DigestInvalid,
    MethodNotAllowed,
    NameInvalid,
    NameUnknown,
    RegistryError,
    RouteUnknown,
    Unsupported,
    UploadUnknown,
)
from moorage.mirrors.upstreams import Upstream
from moorage.oci.names import RepositoryName, is_repository_name
from moorage.registry.blobs.store import FilePart


class Endpoint(NamedTuple):
    """What a method does to a route, and what it needs of the caller."""

    answer: Answer
    needs: Needs


Pages = Mapping[bytes, Mapping[str, Endpoint]]
"""What a browser opens, by path and method."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_PATHS_REMEMBERED = 4096
_PATH_REMEMBERED_MAX_BYTES = 512
_NO_NAME = RepositoryName("")
_SIGNED_IN = frozenset({"basic", "bearer"})
_NO_STORE: Header = (b"cache-control", b"private, no-store")
_CACHED_BY_CLIENT: Header = (b"cache-control", b"private, max-age=31536000")

_PING = {"GET": Endpoint(lists.ping, Needs.CALLER), "HEAD": Endpoint(lists.ping, Needs.CALLER)}
_CATALOG = {"GET": Endpoint(lists.catalog, Needs.CATALOG)}
_ENDPOINTS = {
    "blob": {
        "GET": Endpoint(mirroring.blob(following(blobs.get)), Needs.PULL),
        "HEAD": Endpoint(mirroring.blob_head(following(blobs.head)), Needs.PULL),
        "DELETE": Endpoint(blobs.delete, Needs.DELETE),
    },
    "manifest": {
        "GET": Endpoint(mirroring.manifest(following(manifests.get)), Needs.PULL),
        "HEAD": Endpoint(mirroring.manifest(following(manifests.get)), Needs.PULL),
        "PUT": Endpoint(manifests.put, Needs.PUSH),
        "DELETE": Endpoint(manifests.delete, Needs.DELETE),
    },
    "uploads": {"POST": Endpoint(uploads.post, Needs.PUSH)},
    "upload": {
        "GET": Endpoint(uploads.get, Needs.UPLOAD),
        "PATCH": Endpoint(uploads.patch, Needs.UPLOAD),
        "PUT": Endpoint(uploads.put, Needs.UPLOAD),
        "DELETE": Endpoint(uploads.delete, Needs.UPLOAD),
    },
    "tags": {"GET": Endpoint(mirroring.tags(following(lists.tags)), Needs.PULL)},
    "referrers": {"GET": Endpoint(mirroring.referrers(lists.referrers), Needs.PULL)},
}

# path      = "/v2/" name "/" ( manifests | uploads | upload | blob | tags | referrers )
# name      = greedy: up to the last word that makes a route
# uploads   = "blobs/uploads" [ "/" ]       upload = "blobs/uploads/" id
_PATH = re.compile(
    rb"/v2/(.*)/"
    rb"(?:manifests/(?P<manifest>[^/]+)|blobs/(?P<uploads>uploads/?)|blobs/uploads/(?P<upload>[^/]+)"
    rb"|blobs/(?P<blob>[^/]+)|(?P<tags>tags/list)|referrers/(?P<referrers>[^/]+))"
)

log = structlog.get_logger()


class Dispatcher:
    """The ASGI application of one worker."""

    def __init__(self, services: Services, operations: Operations, metrics: Metrics, pages: Pages) -> None:
        self._services = services
        self._pages = pages
        self._operations = operations
        self._metrics = metrics
        self._full_disk = FullDiskLog(services.disk)
        limits = services.settings.limits
        self._body_idle_s = limits.body_idle.total_seconds()
        self._body_rate = int(limits.body_rate)
        self._logs_requests = services.settings.log.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes a reply here, once."""
        started = time.perf_counter()
        request = Request(scope, receive, self._body_idle_s, self._body_rate)
        route, name = "unknown", None
        endpoints: Mapping[str, Endpoint]
        try:
            path = scope["raw_path"]
            find = _find_remembered if len(path) <= _PATH_REMEMBERED_MAX_BYTES else _find
            route, name, reference, endpoints = find(path)
            if route == "operations" and path in self._pages:
                route, endpoints = "pages", self._pages[path]
            if endpoints:
                _check_method(request.method, endpoints)
                self._check_origin(request)
                endpoint = endpoints[request.method]
                if name:
                    name, request.upstream = await self._place(request, endpoint, name, reference, route)
                request.caller = await self._services.gate.admit(request, endpoint.needs, name, reference)
                reply = await endpoint.answer(self._services, request, name, reference)
            elif route == "token":
                reply = await signing_in.answer(self._services, request)
            elif route == "manage":
                self._check_origin(request)
                reply = await answering.answer(self._services, request, path)
            else:
                reply = await self._operations.answer(request, path)
        except RegistryError as refusal:
            self._full_disk.note(refusal, name)
            reply = render(refusal, name)
        except Exception:
            log.exception("request_failed", method=request.method, path=_shown(scope["raw_path"]))
            reply = render(RegistryError())
        if route == "manage" or request.caller.means in _SIGNED_IN:
            _keep_private(reply)
        sent = await self._send(reply, request, send)
        elapsed = time.perf_counter() - started
        status_class = reply.status // 100 - 1 if sent >= 0 else CUT
        self._metrics.count(
            ROUTE_INDEX[route], request.method, status_class, elapsed, request.bytes_in, max(sent, 0)
        )
        if self._logs_requests:
            log.info(
                "request",
                method=request.method,
                path=_shown(scope["raw_path"]),
                status=reply.status,
                ms=round(elapsed * 1000, 1),
                received_bytes=request.bytes_in,
                sent_bytes=sent,
                client=self._services.gate.address(request),
                agent=_shown(request.headers.get(b"user-agent", b"")),
            )

    async def _place(
        self, request: Request, endpoint: Endpoint, name: RepositoryName, reference: str, route: str
    ) -> tuple[RepositoryName, Upstream | None]:
        """See `place`; what is mirrored from where is told to none but those who may pull by the name."""
        try:
            return await place(self._services, request, name, route)
        except (NameUnknown, Unsupported):
            await self._services.gate.admit(request, endpoint.needs, name, reference)
            raise

    def _check_origin(self, request: Request) -> None:
        """Refuse a change that a web page of another site asks a person's browser for.

        Raises Denied (403). No client of a registry sends Origin.
        """
        origin = request.headers.get(b"origin")
        if origin is None or request.method in {"GET", "HEAD"}:
            return
        host = origin.partition(b"://")[2]
        if host != request.headers.get(b"host") and origin.decode("latin-1") != self._services.gate.base(
            request
        ):
            raise Denied(reason="a request from another site")

    async def _send(self, reply: Reply, request: Request, send: Send) -> int:
        """Send a reply; how many bytes of body went out, or -1 when the reply was cut."""
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            if reply.pieces is None:
                body = b"" if request.method == "HEAD" else reply.body
                await send({"type": "http.response.body", "body": body})
                return len(body)
        except ConnectionError:
            if reply.pieces is not None:
                await reply.pieces.aclose()
            return -1
        return await self._send_pieces(reply, request, send)

    @staticmethod
    async def _send_pieces(reply: Reply, request: Request, send: Send) -> int:
        """Send a body as it is read. Returning before its end makes the server cut the connection."""
        assert reply.pieces is not None  # noqa: S101 - asked by the caller
        sent = 0
        can_send_files = "http.response.zerocopysend" in request.scope.get("extensions", ())
        try:
            async for piece in reply.pieces:
                if not isinstance(piece, FilePart):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    sent += len(piece)
                    continue
                if can_send_files:
                    await send(
                        {
                            "type": "http.response.zerocopysend",
                            "file": piece.fd,
                            "offset": piece.offset,
                            "count": piece.length,
                            "more_body": True,
                        }
                    )
                else:
                    body = os.pread(piece.fd, piece.length, piece.offset)
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                sent += piece.length
        except ConnectionError:
            return -1
        except Exception:
            log.exception("reply_cut", path=_shown(request.scope["raw_path"]), sent_bytes=sent)
            return -1
        finally:
            await reply.pieces.aclose()
        await send({"type": "http.response.body", "body": b""})
        return sent


_BAD_REFERENCES: dict[str, type[RegistryError]] = {
    "blob": DigestInvalid,
    "referrers": DigestInvalid,
    "upload": UploadUnknown,
}


def _find(path: bytes) -> tuple[str, RepositoryName, str, dict[str, Endpoint]]:
    """The route, the repository, the digest, tag or id, and the endpoints by method.

    Raises RouteUnknown (404), NameInvalid (400), DigestInvalid (400), UploadUnknown (404).
    """
    match = _PATH.fullmatch(path)
    if match is None:
        return _find_plain(path)
    route = match.lastgroup or ""
    name = decode_segment(match[1]) if b"%" not in match[1] else _decode_name(match[1])
    if name is None or not is_repository_name(name):
        raise NameInvalid(name=_shown(match[1]))
    reference = decode_segment(match[route])
    if reference is None and route == "manifest":
        # no tag and no digest, whatever it is; what that means depends on the method
        reference = match[route].decode("latin-1")
    if reference is None:
        raise _BAD_REFERENCES.get(route, RouteUnknown)(reference=_shown(match[route]))
    return route, RepositoryName(name), reference, _ENDPOINTS[route]


# a path means the same whenever it comes: reading it again would be a tenth of a pull's cost
_find_remembered = lru_cache(maxsize=_PATHS_REMEMBERED)(_find)


def _find_plain(path: bytes) -> tuple[str, RepositoryName, str, dict[str, Endpoint]]:
    """The routes without a repository."""
    if path in {b"/v2/", b"/v2"}:
        return "ping", _NO_NAME, "", _PING
    if path == b"/v2/_catalog":
        return "catalog", _NO_NAME, "", _CATALOG
    if path.startswith(b"/v2/"):
        raise RouteUnknown(path=_shown(path))
    if path == b"/api" or path.startswith(b"/api/"):
        return "manage", _NO_NAME, "", {}
    if path == b"/token":
        return "token", _NO_NAME, "", {}
    if not path.startswith(b"/"):
        # CONNECT host:port, OPTIONS *
        raise MethodNotAllowed(allow=", ".join(_METHODS))
    return "operations", _NO_NAME, "", {}


def _decode_name(raw: bytes) -> str | None:
    """A repository name that was sent with percent signs: no segment may hide a separator."""
    segments = [decode_segment(segment) for segment in raw.split(b"/")]
    return None if None in segments else "/".join(segment or "" for segment in segments)


def _check_method(method: str, allowed: Collection[str]) -> None:
    """Raises MethodNotAllowed (405)."""
    if method not in allowed:
        raise MethodNotAllowed(allow=", ".join(allowed))


def _keep_private(reply: Reply) -> None:
    """Let no cache on the way keep what one client was given for another; content by digest a client may."""
    for at, (name, value) in enumerate(reply.headers):
        if name == b"cache-control":
            if value.startswith(b"max-age"):
                reply.headers[at] = _CACHED_BY_CLIENT
            return
    reply.headers.append(_NO_STORE)


def _shown(raw: bytes) -> str:
    """What a client sent, fit for a log line: escaped and cut."""
    return raw[:200].decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")
