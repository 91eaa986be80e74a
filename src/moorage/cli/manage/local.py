"""The API in this process, on the data folder, as the operator: whoever may write the folder may all."""

import asyncio
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moorage.cli.manage.client import Client, Fact, Transport, Unreachable
from moorage.config import Settings

if TYPE_CHECKING:
    from moorage.app import Folder

_LOOK_EVERY_S = 0.5

JobRunner = Callable[[Fact, Callable[[Fact], None]], Fact]
"""Sees to it that a job ends, tells how it is again and again, returns what became of it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A data folder: how to ask it, and how to have its jobs done."""

    send: Transport
    run_job: JobRunner


@contextmanager
def open_folder(settings: Settings) -> Iterator[Opened]:
    """The folder, for as long as its database is open.

    Raises Unreachable.
    """
    from moorage.app import StartRefused, open_local

    with asyncio.Runner() as runner:
        local = open_local(settings)
        try:
            folder = runner.run(local.__aenter__())
        except StartRefused as refusal:
            raise Unreachable(str(refusal)) from refusal
        try:
            yield Opened(
                lambda method, target, body: runner.run(_call(folder.application, method, target, body)),
                lambda job, seen: runner.run(_run_job(folder, job, seen)),
            )
        finally:
            runner.run(local.__aexit__(None, None, None))


async def _run_job(folder: "Folder", job: Fact, seen: Callable[[Fact], None]) -> Fact:
    """Have a job done by the worker that is alive, else in this process."""
    running: asyncio.Task[None] | None = None
    try:
        while job["finished_at"] is None:
            seen(job)
            if running is not None and running.done():
                running.result()
            if (running is None or running.done()) and not folder.has_worker():
                running = asyncio.create_task(folder.jobs.run_one(job["id"]))
            waiting = running or asyncio.ensure_future(asyncio.sleep(_LOOK_EVERY_S))
            await asyncio.wait({waiting}, timeout=_LOOK_EVERY_S)
            job = await _get_job(folder, job["id"])
        return job
    finally:
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def _get_job(folder: "Folder", job_id: int) -> Fact:
    answer = await _call(folder.application, "GET", f"/api/v1/jobs/{job_id}", None)
    return Client(lambda _method, _target, _body: answer).get("jobs", str(job_id))


async def _call(application: Any, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
    """One ASGI exchange."""
    path, _, query = target.partition("?")
    content = body or b""
    headers = [(b"host", b"localhost"), (b"content-length", b"%d" % len(content))]
    if body is not None:
        headers.append((b"content-type", b"application/json"))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": headers,
        "client": ("local", 0),
    }
    status, pieces = 0, []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        pieces.append(message.get("body", b""))

    await application(scope, receive, send)
    return status, b"".join(pieces)
