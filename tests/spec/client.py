"""A client that sends what it is told, byte for byte, and shows all that came back.

`Client` speaks HTTP; `Repository` is one repository of the registry through it, with the pushes that
a test needs before it comes to its point.
"""

import contextlib
import http.client
import json
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.content import Document, digest_of, encode, image, some_bytes

Framing = Literal["length", "chunked", "none"]
Fields = Sequence[tuple[str, str]]

_TIMEOUT_S = 20.0
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status, the header fields as sent, the body."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The one value of a header, or None; a header sent twice is a fault of the server."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def __getitem__(self, name: str) -> str:
        value = self.header(name)
        assert value is not None, f"no {name} among {self.fields}"
        return value

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of an error reply, which must be in the specification's form."""
        assert self["Content-Type"] == "application/json"
        return [entry["code"] for entry in self.json["errors"]]


class Client:
    """Requests to one server, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Fields = (),
        *,
        framing: Framing | None = None,
    ) -> Reply:
        """One request and its reply. `framing` None: a length where the method usually has a body."""
        if framing is None:
            framing = "length" if body or method in {"POST", "PUT", "PATCH"} else "none"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if framing == "length":
                connection.putheader("Content-Length", str(len(body)))
            elif framing == "chunked":
                connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            # a server may refuse before it has read all
            with contextlib.suppress(ConnectionError):
                for piece in _framed(body, framing):
                    connection.send(piece)
            response = connection.getresponse()
            content = response.read()
            return Reply(response.status, tuple(response.getheaders()), content)
        finally:
            connection.close()

    def open(self) -> socket.socket:
        """A connection for bytes that no HTTP client would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_TIMEOUT_S)

    def exchange(self, sent: bytes) -> bytes:
        """All bytes that come back for these, until the server closes the connection."""
        with self.open() as connection:
            connection.sendall(sent)
            received = b""
            while piece := connection.recv(_PIECE_BYTES):
                received += piece
            return received


def _framed(body: bytes, framing: Framing) -> Iterable[bytes]:
    pieces = [body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES)]
    if framing == "chunked":
        for piece in pieces:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"
    elif framing == "length":
        yield from pieces


class Repository:
    """One repository, by a name that no other test uses."""

    def __init__(self, client: Client, name: str | None = None) -> None:
        self.client = client
        self.name = name or f"spec/{secrets.token_hex(8)}"

    def path(self, rest: str) -> str:
        """The path of something in this repository."""
        return f"/v2/{self.name}/{rest}"

    def send(
        self,
        method: str,
        rest: str,
        body: bytes = b"",
        headers: Fields = (),
        *,
        framing: Framing | None = None,
    ) -> Reply:
        """One request to `/v2/<name>/<rest>`."""
        return self.client.send(method, self.path(rest), body, headers, framing=framing)

    def follow(
        self, location: str, method: str, body: bytes = b"", headers: Fields = (), query: str = ""
    ) -> Reply:
        """One request to a Location, whose own query is kept."""
        joint = "&" if "?" in location else "?"
        return self.client.send(method, f"{location}{joint}{query}" if query else location, body, headers)

    def begin(self) -> str:
        """The location of a new upload."""
        reply = self.send("POST", "blobs/uploads/")
        assert reply.status == 202, reply
        return reply["Location"]

    def push_blob(self, content: bytes, algorithm: str = "sha256") -> str:
        """Push a blob; its digest."""
        digest = digest_of(content, algorithm)
        reply = self.follow(self.begin(), "PUT", content, query=f"digest={digest}")
        assert reply.status == 201, reply
        return digest

    def put_manifest(
        self, document: Document | bytes, reference: str | None = None, content_type: str | None = None
    ) -> Reply:
        """Push a manifest, by its sha256 digest unless told otherwise, with its own media type."""
        payload = document if isinstance(document, bytes) else encode(document)
        if content_type is None and not isinstance(document, bytes):
            content_type = document.get("mediaType")
        headers = [("Content-Type", content_type)] if content_type else []
        return self.send("PUT", f"manifests/{reference or digest_of(payload)}", payload, headers)

    def push_manifest(self, document: Document | bytes, reference: str | None = None) -> str:
        """Push a manifest that is good; its digest as the server says it."""
        reply = self.put_manifest(document, reference)
        assert reply.status == 201, reply
        return reply["Docker-Content-Digest"]

    def push_image(self, tag: str | None = None, **more: Any) -> Document:
        """Push an image with content of its own; its manifest."""
        config, layer = some_bytes(64), some_bytes(256)
        for content in (config, layer):
            self.push_blob(content)
        document = image(config, [layer], **more)
        self.push_manifest(document, tag)
        return document
