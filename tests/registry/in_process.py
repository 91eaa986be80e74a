"""The registry as an ASGI application in this process: its clock can be moved, its clients cut off."""

import asyncio
import os
from collections.abc import Coroutine, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from moorage import app
from moorage.api.dispatch import Dispatcher
from moorage.api.metrics import Metrics
from moorage.config import Settings
from moorage.database import Database
from moorage.health import Health
from moorage.identity.accounts.attempts import Attempts
from moorage.lifecycle.garbage.collecting import Garbage
from moorage.registry.uploads.uploading import Uploads
from moorage.setting import Bytes
from tests.spec.client import Reply

T = TypeVar("T")

_THREADS = 4
_PIECE_BYTES = 4096


class ClientLeft(Exception):
    """There is no reply: the client had gone before it."""


def settings_for(data: Path) -> Settings:
    """The defaults, on this folder, whatever room its disk has."""
    defaults = Settings()
    return replace(defaults, storage=replace(defaults.storage, data=data, reserve=Bytes(0)))


class InProcess:
    """One worker on a folder. `open` and `close` may be called again and again."""

    def __init__(self, data: Path) -> None:
        self.settings = settings_for(data)
        self.loop = asyncio.new_event_loop()
        self._dispatch: Dispatcher | None = None
        self._held: AbstractAsyncContextManager[Dispatcher] | None = None

    def open(self) -> None:
        """Start, as after a stop or a crash, and return when what it does by itself is done for now."""
        os.close(app.prepare(self.settings))
        self._held = app.open_registry(self.settings, Health(), Metrics(1), Attempts(), _THREADS)
        self._dispatch = self.loop.run_until_complete(self._held.__aenter__())
        self.loop.run_until_complete(self._sweep())

    async def _sweep(self) -> None:
        """What the job worker does at its start."""
        async with app.open_worker(self.settings, Health()) as work:
            await work.sweep._sweep()

    @property
    def db(self) -> Database:
        """Its rows."""
        assert self._dispatch is not None
        return self._dispatch._services.db

    @property
    def uploads(self) -> Uploads:
        """Its uploads."""
        assert self._dispatch is not None
        return self._dispatch._services.uploads

    @property
    def garbage(self) -> Garbage:
        """What collects its garbage, as the job worker does."""
        assert self._dispatch is not None
        services = self._dispatch._services
        threads = services.uploads._threads
        return Garbage(services.db, services.store, threads, self.settings.delete.delay_ms)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a use case comes to, on the loop."""
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        """Stop."""
        if self._held is not None:
            held, self._held = self._held, None
            self.loop.run_until_complete(held.__aexit__(None, None, None))

    def end(self) -> None:
        """Stop for good."""
        self.close()
        self.loop.close()

    def send(
        self, method: str, target: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> Reply:
        """One request and its reply."""
        return self.loop.run_until_complete(self.ask(method, target, body, headers))

    def send_together(self, *requests: tuple[str, str, bytes]) -> list[Reply]:
        """Several requests at once; their replies in the same order."""

        async def ask_all() -> list[Reply]:
            return await asyncio.gather(*(self.ask(*request) for request in requests))

        return self.loop.run_until_complete(ask_all())

    def cut_off(self, method: str, target: str, body: bytes, length: int) -> None:
        """A request whose client leaves when it has sent `body` of the `length` bytes it said."""
        request = self.ask(method, target, body, [("Content-Length", str(length))], is_cut=True)
        self.loop.run_until_complete(request)

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
        *,
        is_cut: bool = False,
    ) -> Reply:
        """One request, on the loop."""
        assert self._dispatch is not None
        path, _, query = target.partition("?")
        fields = [(name.lower().encode(), value.encode()) for name, value in headers]
        if not is_cut:
            fields.append((b"content-length", str(len(body)).encode()))
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": fields,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 5000),
        }
        answer = _Answer()
        await self._dispatch(scope, _Body(body, is_cut=is_cut).receive, answer.send)
        return answer.reply


class _Body:
    """A body in pieces, then either its end or the client's."""

    def __init__(self, body: bytes, *, is_cut: bool) -> None:
        self._pieces = [body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES)]
        self._is_cut = is_cut
        self._is_over = False

    async def receive(self) -> MutableMapping[str, Any]:
        if self._pieces:
            return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}
        if self._is_cut:
            return {"type": "http.disconnect"}
        if not self._is_over:
            self._is_over = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise ClientLeft


class _Answer:
    """What was sent: a status, headers, and a body in memory or as parts of a file."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
        elif "file" in message:
            self._body += os.pread(message["file"], message["count"], message["offset"])
        else:
            self._body += message["body"]
        await asyncio.sleep(0)

    @property
    def reply(self) -> Reply:
        fields = tuple((name.decode(), value.decode()) for name, value in self._headers)
        return Reply(self._status, fields, bytes(self._body))
