"""The wiring: settings in, a running registry out. It knows everybody; nobody but the CLI knows it."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import structlog
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server import Server as Granian

from moorage import logs
from moorage.api.dispatch import Dispatcher
from moorage.api.exchange import Receive, Scope, Send
from moorage.api.metrics import Metrics
from moorage.api.operations import Operations
from moorage.api.v2.services import Services
from moorage.config import Settings
from moorage.databases import sqlite
from moorage.health import Health
from moorage.lifecycle.sweep import Sweep
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore

_THREADS = 16
_BACKLOG = 4096
_RESPAWN_AFTER_S = 0.5

log = structlog.get_logger()


class StartRefused(Exception):
    """The registry cannot start; the sentence says why and what to do."""


class Worker:
    """One worker process: made after the fork, opened by the server's lifespan, closed by it."""

    def __init__(self, settings: Settings, health: Health, metrics: Metrics) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._dispatch: Dispatcher | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "http":
            assert self._dispatch is not None  # noqa: S101 - the lifespan opened it
            await self._dispatch(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._metrics.claim_row()
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="disk")
        db = sqlite.SqliteDatabase(self._settings.storage.database, self._health)
        store = _store(self._settings, self._health)
        uploads = Uploads(db, store, threads, self._settings.uploads)
        services = Services(self._settings, db, store, BlobServer(db, store, threads), uploads)
        operations = Operations(services, self._health, self._metrics)
        self._dispatch = Dispatcher(services, operations, self._metrics)
        lock = self._settings.storage.data / "sweep.lock"
        sweep = asyncio.create_task(Sweep(lock, db, uploads, SecondDigests(db, store, threads)).run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        sweep.cancel()
        await asyncio.gather(sweep, return_exceptions=True)
        threads.shutdown()
        db.close()
        await send({"type": "lifespan.shutdown.complete"})


def _store(settings: Settings, health: Health) -> FilesystemStore:
    return FilesystemStore(settings.storage.data, health, settings.storage.reserve)


def prepare(settings: Settings) -> None:
    """Make the data folder and the database ready.

    Raises StartRefused.
    """
    os.umask(0o077)
    data = settings.storage.data
    try:
        _store(settings, Health()).prepare()
        sqlite.prepare(settings.storage.database)
    except sqlite.DatabaseRefused as refusal:
        raise StartRefused(str(refusal)) from refusal
    except OSError as error:
        raise StartRefused(
            f"cannot use the data folder {data}: {error.strerror}. Choose another with --data or mend its owner."
        ) from error


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests under way may end first.

    Raises StartRefused.
    """
    logs.configure(settings.log)
    prepare(settings)
    health = Health()
    workers = settings.server.worker_count
    metrics = Metrics(workers)

    def load_worker(*_: object, **__: object) -> Worker:
        return Worker(settings, health, metrics)

    server = Granian(
        "moorage",
        address=settings.server.host,
        port=settings.server.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        # uploads over HTTP/2 are several times slower: they come in 16 KiB frames
        http=HTTPModes.http1,
        websockets=False,
        workers=workers,
        workers_kill_timeout=int(settings.server.drain.total_seconds()),
        respawn_failed_workers=True,
        respawn_interval=_RESPAWN_AFTER_S,
        backlog=_BACKLOG,
        log_dictconfig=logs.SERVER_LOG,
        # counts connections, not requests
        backpressure=settings.limits.connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(settings.limits.header_timeout.total_seconds() * 1000)
        ),
    )
    log.info(
        "registry_started", listen=settings.server.listen, data=str(settings.storage.data), workers=workers
    )
    server.serve(target_loader=load_worker, wrap_loader=False)
    log.info("registry_stopped")
