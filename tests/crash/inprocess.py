"""A registry without a socket: the ASGI application of one worker over a data folder, asked in-process."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from moorage import app
from moorage.api.dispatch import Dispatcher
from moorage.api.exchange import Message
from moorage.api.metrics import Metrics
from moorage.config import Settings, StorageSettings, UploadSettings
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.identity.accounts.attempts import Attempts
from moorage.setting import Bytes
from moorage.storage.filesystem import FilesystemStore

Body = bytes | Sequence[bytes] | AsyncIterator[bytes]


class ClientLeft(Exception):
    """Raised by a body to say that its sender is gone."""


@dataclass(slots=True)
class Answer:
    """A reply as its client has it; not `is_whole` when the connection was cut before its last byte."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False


def settings_of(data: Path, uploads: UploadSettings | None = None) -> Settings:
    """The settings of a registry in `data`; a disk is never nearly full."""
    storage = StorageSettings(data=data, reserve=Bytes(0))
    return Settings(storage=storage, uploads=uploads or UploadSettings())


def prepare(data: Path) -> None:
    """Make the folders and the database, as `moorage serve` does before it has workers."""
    os.close(app.prepare(settings_of(data)))


class LocalRegistry:
    """One worker's application over a folder that is prepared."""

    def __init__(self, data: Path, health: Health, application: Dispatcher) -> None:
        services = application._services
        assert isinstance(services.db, SqliteDatabase)
        assert isinstance(services.store, FilesystemStore)
        self.data = data
        self.health = health
        self.db = services.db
        self.store = services.store
        self.uploads = services.uploads
        self.disk = services.uploads._threads
        self._application = application

    @classmethod
    @asynccontextmanager
    async def open(
        cls, data: Path, *, disk_threads: int = 4, uploads: UploadSettings | None = None
    ) -> AsyncIterator[Self]:
        """Open it, and close it in the end. It does not sweep: that is the job worker's."""
        health = Health()
        async with app.open_registry(
            settings_of(data, uploads), health, Metrics(1), Attempts(), disk_threads
        ) as application:
            yield cls(data, health, application)

    async def ask(
        self,
        method: str,
        target: str,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
        *,
        on_sent: Callable[[Answer], None] | None = None,
    ) -> Answer:
        """Make one request. `on_sent` is called at the moment the last byte of the reply is sent.

        A body of pieces in memory has a Content-Length; one that is iterated over is chunked.
        """
        pieces = [body] if isinstance(body, bytes) else body
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        if isinstance(pieces, Sequence):
            fields.setdefault("content-length", str(sum(map(len, pieces))))
        else:
            fields.setdefault("transfer-encoding", "chunked")
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "scheme": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
            "client": ("127.0.0.1", 1),
            "extensions": {},
        }
        exchange = _Exchange(pieces, on_sent)
        await self._application(scope, exchange.receive, exchange.send)
        return exchange.answer


class _Exchange:
    """The client's end of one request."""

    def __init__(
        self, pieces: Sequence[bytes] | AsyncIterator[bytes], on_sent: Callable[[Answer], None] | None
    ) -> None:
        self.answer = Answer()
        self._pieces = _iterate(pieces) if isinstance(pieces, Sequence) else pieces
        self._on_sent = on_sent
        self._is_read = False

    async def receive(self) -> Message:
        """The next piece; after the last one the client is there and says nothing."""
        if self._is_read:
            await asyncio.Event().wait()
        try:
            return {"type": "http.request", "body": await anext(self._pieces), "more_body": True}
        except StopAsyncIteration:
            self._is_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        except ClientLeft:
            self._is_read = True
            return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {key.decode(): value.decode() for key, value in message["headers"]}
            return
        self.answer.body += message["body"]
        if not message.get("more_body", False):
            self.answer.is_whole = True
            if self._on_sent is not None:
                self._on_sent(self.answer)


async def _iterate(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
