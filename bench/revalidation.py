"""The row about asking an upstream again: a day of pulls, by a clock that is moved."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import apsw

from bench.client import WrongReply
from bench.images import MANIFEST_TYPE, digest_of
from bench.measures import Measure, at_most
from bench.servers import Moorage, Server
from bench.stand import Figures, Stand
from bench.takeover import write_tree
from bench.upstreams import NAME, ProxiedRegistry, write_settings

_REMOTE = "library/day"
_FRESHNESS_MIN = 15
_MINUTE_MS = 60_000
_AT_ONCE = 16
_COMPANIONS_MAX_S = 300


@dataclass(slots=True)
class MirrorRevalidation:
    """Pull 1,000 tags every minute of a day, of which none moves, through a mirror in one process.

    The upstream is a real registry, and a proxy counts what it is asked; the mirror's clock is moved.
    """

    name: ClassVar[str] = "mirror-revalidation"
    title: ClassVar[str] = "24 h of 1,000 tags pulled every minute"
    measures: ClassVar[Sequence[Measure]] = (
        Measure("heads_of_allowed", "HEADs, of what a freshness of 15 min allows", "x", at_most(1)),
        Measure("gets", "GETs when nothing changed", "", at_most(0)),
        Measure("heads", "HEADs of the upstream", ""),
        Measure("pulls", "pulls", ""),
        Measure("wall_s", "time", "s"),
    )
    needs_quiet: ClassVar[bool] = False
    is_once: ClassVar[bool] = True
    _own: list[ProxiedRegistry] = field(default_factory=list)
    _digests: list[str] = field(default_factory=list)
    _minutes: int = 0

    def prepare(self, stand: Stand, server: Server) -> None:
        """Fill an upstream, and pull each tag once."""
        if not isinstance(server, Moorage):
            return
        folder = stand.folder / "mirror-revalidation"
        upstream = ProxiedRegistry("upstream", folder / "upstream")
        stand.started.append(upstream)
        self._digests = write_tree(upstream.data, _REMOTE, 100 if stand.is_quick else 1000)
        self._minutes = 120 if stand.is_quick else 1440
        upstream.start()
        write_settings(folder, upstream.proxy.url, f"{_FRESHNESS_MIN}m")
        stand.crew.run(_pull_for, folder, self._digests, 0, 1, needs_companions=True)
        self._own = [upstream]

    def measure(self, stand: Stand, server: Server, number: int) -> Figures:
        """Pull all of them each minute, and count."""
        del number
        if not isinstance(server, Moorage) or not self._own:
            return {}
        (upstream,) = self._own
        upstream.proxy.forget()
        folder = stand.folder / "mirror-revalidation"
        began = time.perf_counter()
        pulls = stand.crew.run(_pull_for, folder, self._digests, 1, self._minutes)
        heads = upstream.proxy.count("HEAD")
        if not heads:
            raise WrongReply("the upstream was never asked whether a tag has moved")
        return {
            "heads_of_allowed": heads / (len(self._digests) * self._minutes / _FRESHNESS_MIN),
            "gets": upstream.proxy.count("GET"),
            "heads": heads,
            "pulls": pulls,
            "wall_s": time.perf_counter() - began,
        }


def _pull_for(
    folder: Path, digests: Sequence[str], first: int, last: int, *, needs_companions: bool = False
) -> int:
    """Pull the tags v0, v1, ... in each of these minutes; how many pulls.

    With `needs_companions` it also waits until all signatures have been asked for, which is done once for
    each image. Raises WrongReply.
    """
    # after the client processes have begun: they import this to find a row's work
    from moorage import app, logs  # noqa: PLC0415
    from moorage.api.metrics import Metrics  # noqa: PLC0415
    from moorage.config_file import load  # noqa: PLC0415
    from moorage.health import Health  # noqa: PLC0415
    from moorage.identity.accounts.attempts import Attempts  # noqa: PLC0415

    settings = load(folder / "moorage.toml", {}, {("storage", "data"): folder / "mirror"})
    settings = replace(settings, log=replace(settings.log, level="error"))

    async def run(move: Callable[[int], None]) -> int:
        count = 0
        async with app.open_registry(settings, Health(), Metrics(1), Attempts()) as application:
            for minute in range(first, last):
                move(minute * _MINUTE_MS)
                waiting = iter(list(enumerate(digests)))
                async with asyncio.TaskGroup() as clients:
                    for _ in range(_AT_ONCE):
                        clients.create_task(_pull_all(application, waiting))
                count += len(digests)
            if needs_companions:
                await _wait_for_companions(settings.storage.database, len(digests))
        return count

    logs.configure(settings.log)
    os.close(app.prepare(settings))
    with _moved_clock() as move:
        return asyncio.run(run(move))


async def _wait_for_companions(path: Path, count: int) -> None:
    """Wait until all that comes along is here for so many images. Raises WrongReply."""
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for _ in range(_COMPANIONS_MAX_S):
            sql = "SELECT 1 FROM mirrored_subject WHERE along_at IS NOT NULL"
            if len(database.execute(sql).fetchall()) >= count:
                return
            await asyncio.sleep(1)
    finally:
        database.close()
    raise WrongReply(f"what comes along with {count} images was not here in {_COMPANIONS_MAX_S} s")


async def _pull_all(application: Any, waiting: Iterator[tuple[int, str]]) -> None:
    for number, digest in waiting:
        target = f"/v2/{NAME}/{_REMOTE}/manifests/v{number}"
        status, body = await _get(application, target)
        if status != 200 or digest_of(body) != digest:
            raise WrongReply(f"GET {target}: {status}, {digest_of(body)}, not {digest}")


async def _get(application: Any, path: str) -> tuple[int, bytes]:
    """One ASGI exchange."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"accept", MANIFEST_TYPE.encode("ascii"))],
        "client": ("127.0.0.1", 0),
    }
    status, pieces = 0, []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        pieces.append(message.get("body", b""))

    await application(scope, receive, send)
    return status, b"".join(pieces)


@contextmanager
def _moved_clock() -> Iterator[Callable[[int], None]]:
    """Let everything of Moorage in this process go by a clock that stands; give what moves it.

    It begins at a fixed time, so that one run goes on where the last has ended.
    """
    now = [1_800_000_000_000]
    users = [
        module
        for name, module in sys.modules.items()
        if name.startswith("moorage.") and getattr(module, "now_ms", None) is not None
    ]
    real = users[0].now_ms

    def move(offset_ms: int) -> None:
        now[0] = 1_800_000_000_000 + offset_ms

    for module in users:
        module.now_ms = lambda: now[0]  # type: ignore[attr-defined]
    try:
        yield move
    finally:
        for module in users:
            module.now_ms = real  # type: ignore[attr-defined]
