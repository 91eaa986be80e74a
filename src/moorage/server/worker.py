"""What the connections of one worker process share, and the end of those that only hold on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from email.utils import formatdate
from typing import Any, Protocol

from moorage.server.limits import Limits

Application = Callable[..., Awaitable[None]]
Refusal = tuple[list[tuple[bytes, bytes]], bytes]

READ_BYTES = 1024 * 1024
_PUT_AWAY_S = 5.0


class Held(Protocol):
    """A connection, as the worker sees it."""

    is_idle: bool
    since: float

    def check_time(self, now: float) -> None:
        """End it if it takes too long."""
        ...

    def stop_when_idle(self) -> None:
        """Close it when nothing is under way."""
        ...

    def close(self) -> None:
        """Close it, after what has been written."""
        ...

    def abort(self) -> None:
        """Cut it."""
        ...


class Worker:
    """What the connections of one worker process share."""

    def __init__(
        self,
        application: Application,
        limits: Limits,
        refuse: Callable[[int], Refusal],
    ) -> None:
        self.application = application
        self.limits = limits
        self.refuse = refuse
        """Headers and body for a status that the server itself has to give."""
        self.loop = asyncio.get_running_loop()
        self.connections: set[Held] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_stopping = False
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.encrypting = 0
        """How many replies by TLS are being read from files."""
        self._date = (0, b"")

    def date(self) -> bytes:
        """The Date header's line, made once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = now, b"date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
        return self._date[1]

    async def watch(self) -> None:
        """Once a second, end the connections that only hold on; for as long as the worker lives."""
        while True:
            await asyncio.sleep(1.0)
            now = self.loop.time()
            for connection in list(self.connections):
                connection.check_time(now)

    async def stop(self) -> None:
        """Let requests under way end, for as long as the limits say; then cut the rest."""
        self.is_stopping = True
        for connection in list(self.connections):
            connection.stop_when_idle()
        deadline = self.loop.time() + self.limits.drain_s
        while self.connections and self.loop.time() < deadline:  # noqa: ASYNC110 - bounded by the deadline
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self.tasks:
            # what was cut still puts away what had arrived
            await asyncio.wait(self.tasks, timeout=_PUT_AWAY_S)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let something go on by itself; the worker does not end before it."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
