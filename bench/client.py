"""What one client does: ask, pull, push, and refuse to believe a wrong reply.

Everything here is stdlib and runs in any process; the rows run it in those of
`crew`, so that a server's CPU is only its own.
"""

import hashlib
import http.client
import mmap
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from bench.images import KIB, MANIFEST_TYPE, MIB, Blob, Image, digest_of, make_content, stream_content

_PATCH_PIECE_BYTES = 32 * KIB
"""dockerd streams a layer in one PATCH, framed by io.Copy's 32 KiB."""
_PULL_PIECE_BYTES = MIB
_TIMEOUT_S = 300.0

Body = bytes | Iterable[bytes | memoryview] | None


class WrongReply(Exception):  # it says what was wrong, as every refusal here
    """The server did not answer as it must."""


class Address(NamedTuple):
    """Where a registry listens."""

    host: str
    port: int


class TlsAddress(Address):
    """Where one listens that speaks TLS, by a certificate that nobody checks here."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; the names of `headers` are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Push:
    """A blob that was acknowledged."""

    digest: str
    wall_s: float


class Client:
    """One keep-alive connection."""

    def __init__(self, address: Address) -> None:
        self._connection = _connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def ask(
        self,
        method: str,
        target: str,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        *,
        want: int,
    ) -> Reply:
        """Send one request and read its reply whole.

        Raises WrongReply when its status is not `want`.
        """
        chunked = body is not None and not isinstance(body, bytes)
        sent = dict(headers or {}) | ({"Transfer-Encoding": "chunked"} if chunked else {})
        self._connection.request(method, target, body, sent, encode_chunked=chunked)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != want:
            raise WrongReply(f"{method} {target}: {response.status}, not {want}: {content[:200]!r}")
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def ask_status(self, method: str, target: str) -> int:
        """Send one request for nothing but its status."""
        self._connection.request(method, target)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def receive(self, target: str, buffer: memoryview, headers: Mapping[str, str] | None = None) -> None:
        """GET exactly `len(buffer)` bytes into `buffer`: 206 when a Range is asked for, else 200.

        Raises WrongReply when it is another status or another length.
        """
        want = 206 if headers and "Range" in headers else 200
        self._connection.request("GET", target, headers=dict(headers or {}))
        response = self._connection.getresponse()
        if response.status != want or response.length != len(buffer):
            raise WrongReply(f"GET {target}: {response.status} with {response.length} bytes, not {want}")
        received = 0
        while count := response.readinto(buffer[received : received + _PULL_PIECE_BYTES]):
            received += count
        response.read()
        if received != len(buffer):
            raise WrongReply(f"GET {target}: ended after {received} of {len(buffer)} bytes")

    def receive_timed(self, target: str, buffer: memoryview) -> float:
        """GET exactly `len(buffer)` bytes into `buffer`; give the seconds until the first of them came.

        Raises WrongReply when it is another status or another length.
        """
        began = time.perf_counter()
        self._connection.request("GET", target)
        response = self._connection.getresponse()
        if response.status != 200 or response.length != len(buffer):
            raise WrongReply(f"GET {target}: {response.status} with {response.length} bytes")
        received = response.readinto(buffer[:1])
        first_s = time.perf_counter() - began
        while count := response.readinto(buffer[received : received + _PULL_PIECE_BYTES]):
            received += count
        if received != len(buffer):
            raise WrongReply(f"GET {target}: ended after {received} of {len(buffer)} bytes")
        return first_s

    def hash_blob(self, target: str, size: int) -> str:
        """GET a blob of any size, holding one piece of it, and give its digest."""
        self._connection.request("GET", target)
        response = self._connection.getresponse()
        if response.status != 200 or response.length != size:
            raise WrongReply(f"GET {target}: {response.status} with {response.length} bytes, not {size}")
        digest = hashlib.sha256()
        piece = memoryview(bytearray(min(size, _PULL_PIECE_BYTES) or 1))
        while count := response.readinto(piece):
            digest.update(piece[:count])
        return "sha256:" + digest.hexdigest()

    def check_blob(self, repository: str, digest: str, size: int) -> None:
        """Raise WrongReply unless the blob pulls back with its digest."""
        got = self.hash_blob(f"/v2/{repository}/blobs/{digest}", size)
        if got != digest:
            raise WrongReply(f"blob {digest} of {repository} came back as {got}")

    def pull_manifest(self, repository: str, reference: str, digest: str) -> Reply:
        """GET a manifest; raise WrongReply unless body and header both say `digest`."""
        reply = self.ask(
            "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": MANIFEST_TYPE}, want=200
        )
        named = reply.headers.get("docker-content-digest")
        if digest_of(reply.body) != digest or named != digest:
            raise WrongReply(f"manifest {reference} of {repository} is {named}, not {digest}")
        return reply

    def push_manifest(self, repository: str, reference: str, manifest: bytes) -> Reply:
        """PUT a manifest."""
        target = f"/v2/{repository}/manifests/{reference}"
        return self.ask("PUT", target, manifest, {"Content-Type": MANIFEST_TYPE}, want=201)

    def upload(self, repository: str, pieces: Iterable[bytes | memoryview]) -> str:
        """Push one blob as dockerd does (POST, one chunked PATCH, PUT ?digest=); give its digest."""
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes | memoryview]:
            for piece in pieces:
                digest.update(piece)
                yield piece

        target = _location(self.ask("POST", f"/v2/{repository}/blobs/uploads/", b"", want=202))
        octets = {"Content-Type": "application/octet-stream"}
        target = _location(self.ask("PATCH", target, hashed(), octets, want=202))
        name = "sha256:" + digest.hexdigest()
        joint = "&" if "?" in target else "?"
        reply = self.ask("PUT", f"{target}{joint}digest={name}", b"", want=201)
        named = reply.headers.get("docker-content-digest", name)
        if named != name:
            raise WrongReply(f"the upload of {name} was acknowledged as {named}")
        return name


def _connect(address: Address) -> http.client.HTTPConnection:
    if not isinstance(address, TlsAddress):
        return http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(address.host, address.port, timeout=_TIMEOUT_S, context=context)


def push_blob(address: Address, repository: str, seed: str, size: int) -> Push:
    """Push the blob that `seed` gives, made before the clock starts."""
    view = memoryview(make_content(seed, size))
    pieces = [view[start : start + _PATCH_PIECE_BYTES] for start in range(0, size, _PATCH_PIECE_BYTES)]
    _warm_free_memory(4 * size)
    with Client(address) as client:
        began = time.perf_counter()
        digest = client.upload(repository, pieces)
        return Push(digest, time.perf_counter() - began)


def push_stream(address: Address, repository: str, seed: str, size: int) -> Push:
    """Push a blob of any size, made while it is sent."""
    with Client(address) as client:
        began = time.perf_counter()
        digest = client.upload(repository, stream_content(seed, size, _PATCH_PIECE_BYTES))
        return Push(digest, time.perf_counter() - began)


def push_missing(address: Address, repository: str, blobs: Iterable[Blob]) -> None:
    """Push those of `blobs` that are not there."""
    with Client(address) as client:
        missing = [
            blob
            for blob in blobs
            if client.ask_status("HEAD", f"/v2/{repository}/blobs/{blob.digest}") != 200
        ]
    for blob in missing:
        push_blob(address, repository, blob.seed, blob.size)


def push_image(address: Address, repository: str, tag: str, image: Image) -> None:
    """Push the blobs that are missing, then the manifest."""
    push_missing(address, repository, image.blobs)
    with Client(address) as client:
        client.push_manifest(repository, tag, image.manifest)


def push_manifests(address: Address, repository: str, manifests: list[tuple[str, bytes]]) -> float:
    """PUT (tag, manifest) pairs one after the other over one connection; give the seconds."""
    with Client(address) as client:
        began = time.perf_counter()
        digests = [
            client.push_manifest(repository, tag, manifest).headers.get("docker-content-digest")
            for tag, manifest in manifests
        ]
        wall_s = time.perf_counter() - began
    if digests != [digest_of(manifest) for _, manifest in manifests]:
        raise WrongReply(f"a manifest of {repository} was acknowledged under another digest")
    return wall_s


def check_blob(address: Address, repository: str, digest: str, size: int) -> None:
    """Raise WrongReply unless the blob pulls back with its digest."""
    with Client(address) as client:
        client.check_blob(repository, digest, size)


def pull_repeatedly(address: Address, repository: str, digest: str, size: int, times: int) -> float:
    """GET one blob several times over one connection, check the last; give the seconds of the GETs."""
    target = f"/v2/{repository}/blobs/{digest}"
    buffer = memoryview(bytearray(size))
    with Client(address) as client:
        began = time.perf_counter()
        for _ in range(times):
            client.receive(target, buffer)
        wall_s = time.perf_counter() - began
    if digest_of(buffer) != digest:
        raise WrongReply(f"blob {digest} came back as {digest_of(buffer)}")
    return wall_s


def pull_ranges(
    address: Address, repository: str, digest: str, starts: list[list[int]], range_bytes: int
) -> dict[int, str]:
    """GET the ranges that begin at `starts`, one connection for each list of them.

    Gives the digest of the last bytes received for each start: hashed when all have come.
    """

    def pull(own: list[int]) -> dict[int, bytearray]:
        parts: dict[int, bytearray] = {}
        with Client(address) as client:
            for start in own:
                part = parts.setdefault(start, bytearray(range_bytes))
                asked = {"Range": f"bytes={start}-{start + range_bytes - 1}"}
                client.receive(f"/v2/{repository}/blobs/{digest}", memoryview(part), asked)
        return parts

    with ThreadPoolExecutor(len(starts)) as threads:
        return {
            start: digest_of(part) for parts in threads.map(pull, starts) for start, part in parts.items()
        }


def pull_images(address: Address, repository: str, tag: str, image: Image, clients: int) -> list[str]:
    """Let `clients` pull one image at once, each over a connection of its own; give what went wrong.

    A client asks for the manifest by tag, then for each blob in turn, and hashes all it gets.
    """

    def pull(_number: int) -> str | None:
        try:
            with Client(address) as client:
                client.pull_manifest(repository, tag, image.digest)
                for blob in image.blobs:
                    client.check_blob(repository, blob.digest, blob.size)
        except (OSError, http.client.HTTPException, WrongReply) as problem:
            return repr(problem)
        return None

    with ThreadPoolExecutor(clients) as threads:
        return [problem for problem in threads.map(pull, range(clients)) if problem]


def time_replies(address: Address, targets: list[str]) -> tuple[list[float], list[bytes]]:
    """GET each target in turn over one connection; give the seconds and the bodies, each in that order."""
    walls_s: list[float] = []
    bodies: list[bytes] = []
    with Client(address) as client:
        for target in targets:
            began = time.perf_counter()
            reply = client.ask("GET", target, want=200)
            walls_s.append(time.perf_counter() - began)
            bodies.append(reply.body)
    return walls_s, bodies


def _warm_free_memory(size: int) -> None:
    """Have the kernel touch `size` bytes and take them back.

    A virtual machine gives memory that was free for seconds back to its host. The first write
    to it then costs the host a fault and shows as system time of whoever writes: a push into
    such memory was seen to cost twice the CPU of the same push into memory just freed. Which
    of two servers meets it is chance, so it is met here, before the clock starts.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, size, flags=flags).close()


def _location(reply: Reply) -> str:
    """Give the path and query of the Location, be it absolute or relative."""
    parts = urlsplit(reply.headers["location"])
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
