"""The connection layer alone, under an application of the test's and a kernel that takes little."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from moorage.server.connection import Connection
from moorage.server.limits import Limits
from moorage.server.worker import Application, Worker
from tests.inputs.wire import request

LIMITS = Limits(header_timeout_s=2, idle_timeout_s=2, reader_idle_s=1, connections=10, drain_s=1)
SMALL_BUFFER_BYTES = 4096
LITTLE = bytes(40_000)
"""More than the kernel takes of a reply here, less than the server would hold for a reader that goes on."""


def sending_parts(file: int) -> Application:
    """An application that answers /little from memory and any other path from a file."""

    async def application(
        scope: dict[str, object], receive: object, send: Callable[[dict[str, object]], Awaitable[None]]
    ) -> None:
        is_little = scope["path"] == "/little"
        size = len(LITTLE) if is_little else os.fstat(file).st_size
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if is_little:
            await send({"type": "http.response.body", "body": LITTLE})
            return
        part = {"type": "http.response.zerocopysend", "file": file, "offset": 0, "count": size}
        await send(part | {"more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return application


@pytest.mark.parametrize("asked", [["/little"], ["/little", "/file"]], ids=["alone", "before a file"])
def test_reader_that_leaves_a_little_of_a_reply_is_cut_and_costs_nothing(
    tmp_path: Path, asked: list[str]
) -> None:
    """B12."""
    path = tmp_path / "file"
    path.write_bytes(bytes(1_000_000))
    file = os.open(path, os.O_RDONLY)

    async def scenario() -> float:
        listener = socket.create_server(("127.0.0.1", 0))
        # accepted connections inherit it
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        worker = Worker(sending_parts(file), LIMITS, lambda _: ([], b""))
        server = await asyncio.get_running_loop().create_server(lambda: Connection(worker), sock=listener)
        watch = asyncio.create_task(worker.watch())
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        client.connect(listener.getsockname())
        client.sendall(b"".join(request("GET", path) for path in asked))
        await asyncio.sleep(0.2)
        assert len(worker.connections) == 1
        started, used_s = time.monotonic(), time.process_time()
        while worker.connections and time.monotonic() - started < 8:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.1)
        used_s = time.process_time() - used_s
        assert not worker.connections
        client.close()
        watch.cancel()
        server.close()
        return used_s

    try:
        assert uvloop.run(scenario()) < 0.5
    finally:
        os.close(file)
