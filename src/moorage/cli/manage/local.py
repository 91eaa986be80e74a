"""The API in this process, on the data folder, as the operator: whoever may write the folder may all."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from moorage.cli.manage.client import Transport, Unreachable
from moorage.config import Settings


@contextmanager
def open_folder(settings: Settings) -> Iterator[Transport]:
    """The transport, for as long as the folder's database is open.

    Raises Unreachable.
    """
    import asyncio

    from moorage.app import StartRefused, open_local

    with asyncio.Runner() as runner:
        folder = open_local(settings)
        try:
            application = runner.run(folder.__aenter__())
        except StartRefused as refusal:
            raise Unreachable(str(refusal)) from refusal
        try:
            yield lambda method, target, body: runner.run(_call(application, method, target, body))
        finally:
            runner.run(folder.__aexit__(None, None, None))


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
