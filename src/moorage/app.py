"""The wiring: settings in, a running registry out. It knows everybody; nobody but the CLI knows it."""

import asyncio
import fcntl
import gc
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
import uvloop

from moorage import logs
from moorage.api.dispatch import Dispatcher
from moorage.api.fronts import Fronts
from moorage.api.gate import Gate
from moorage.api.metrics import Metrics
from moorage.api.operations import Operations
from moorage.api.v2.errors import refuse
from moorage.api.v2.services import Services
from moorage.config import Settings
from moorage.databases import sqlite
from moorage.errors import RegistryError
from moorage.health import Health
from moorage.identity.accounts.attempts import Attempts
from moorage.identity.accounts.passwords import Passwords
from moorage.identity.callers.callers import Callers
from moorage.identity.federation.exchanging import Exchanges
from moorage.identity.federation.visiting import Visits
from moorage.identity.tokens.keys import rotate_if_due
from moorage.issuers.client import HttpIssuers
from moorage.lifecycle.sweep import Sweep
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.repositories.rows import has_repositories
from moorage.registry.uploads.uploading import Uploads
from moorage.server.connection import Connection
from moorage.server.limits import Limits
from moorage.server.worker import Worker
from moorage.server.workers import Workers, listen
from moorage.storage.filesystem import FilesystemStore
from moorage.web import routes

_DISK_THREADS = 16
_BACKLOG = 4096
_GARBAGE_EVERY = 20_000
_USES_EVERY_S = 10.0

log = structlog.get_logger()


class StartRefused(Exception):
    """The registry cannot start; the sentence says why and what to do."""


@asynccontextmanager
async def open_registry(
    settings: Settings,
    health: Health,
    metrics: Metrics,
    attempts: Attempts,
    disk_threads: int = _DISK_THREADS,
) -> AsyncIterator[Dispatcher]:
    """The ASGI application of one worker process, its database and threads open until the end."""
    threads = ThreadPoolExecutor(disk_threads, thread_name_prefix="disk")
    db = sqlite.SqliteDatabase(settings.storage.database, health)
    store = _store(settings, health)
    uploads = Uploads(db, store, threads, settings.uploads)
    second_digests = SecondDigests(db, store, threads)
    passwords = Passwords()
    callers = Callers(db, passwords, attempts)
    gate = Gate(
        db,
        callers,
        Fronts(settings.server),
        is_local=settings.server.is_local,
        may_use_password_in_plain=settings.server.insecure_passwords,
    )
    blobs = BlobServer(db, store, threads, second_digests)
    issuers = HttpIssuers(settings.oidc)
    exchanges = Exchanges(db, issuers, settings.oidc.trusts, attempts)
    visits = Visits(db, issuers, settings.oidc, has_repositories)
    services = Services(settings, db, store, blobs, uploads, callers, passwords, gate, exchanges, visits)
    await rotate_if_due(db)
    lock = settings.storage.data / "sweep.lock"
    tasks = [
        asyncio.create_task(Sweep(lock, db, uploads, second_digests).run()),
        asyncio.create_task(_record_uses(callers)),
    ]
    try:
        yield Dispatcher(services, Operations(services, health, metrics), routes.answer, metrics)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await issuers.close()
        passwords.close()
        threads.shutdown()
        db.close()


async def _record_uses(callers: Callers) -> None:
    """Now and then, write down which tokens were used; for as long as the worker lives."""
    while True:
        await asyncio.sleep(_USES_EVERY_S)
        try:
            await callers.record_uses()
        except RegistryError as refusal:
            log.warning("token_uses_lost", reason=str(refusal))


async def _work(
    index: int, own: socket.socket, settings: Settings, health: Health, metrics: Metrics, attempts: Attempts
) -> None:
    """One worker process, from its listening socket to the last reply; cancelled when it shall stop."""
    metrics.claim_row(index)
    # what is loaded by now stays: looking through it again and again costs a tenth of a push
    gc.freeze()
    gc.set_threshold(_GARBAGE_EVERY)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_failure)
    async with open_registry(settings, health, metrics, attempts) as application:
        worker = Worker(application, _limits(settings), refuse)
        server = await loop.create_server(lambda: Connection(worker), sock=own, backlog=_BACKLOG)
        try:
            await worker.watch()
        finally:
            server.close()
            await worker.stop()


def _log_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("task_failed", message=context.get("message"), exc_info=context.get("exception"))


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        header_timeout_s=limits.header_timeout.total_seconds(),
        idle_timeout_s=limits.idle_timeout.total_seconds(),
        reader_idle_s=limits.reader_idle.total_seconds(),
        connections=limits.connections,
        drain_s=settings.server.drain.total_seconds(),
    )


def _store(settings: Settings, health: Health) -> FilesystemStore:
    return FilesystemStore(settings.storage.data, health, settings.storage.reserve)


def prepare(settings: Settings) -> int:
    """Make the data folder and the database ready; a lock on the folder, held until it is closed.

    Raises StartRefused.
    """
    os.umask(0o077)
    data = settings.storage.data
    try:
        _store(settings, Health()).prepare()
        lock = os.open(data / "moorage.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartRefused(
            f"cannot use the data folder {data}: {error.strerror}."
            " Mend its owner, or choose another with --data."
        ) from error
    except RegistryError as refusal:
        raise StartRefused(f"cannot use the data folder {data}: {refusal}. Look at its disk.") from refusal
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sqlite.prepare(settings.storage.database)
    except BlockingIOError as error:
        os.close(lock)
        raise StartRefused(
            f"another Moorage serves the data folder {data}. Stop it, or choose another folder with --data."
        ) from error
    except sqlite.DatabaseRefused as refusal:
        os.close(lock)
        raise StartRefused(str(refusal)) from refusal
    return lock


def serve(settings: Settings, greet: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; requests under way may end first. The process's exit code.

    `greet` is told the address once it is taken.

    Raises StartRefused.
    """
    logs.configure(settings.log)
    lock = prepare(settings)
    _raise_file_limit()
    count = settings.server.worker_count
    try:
        sockets = listen(settings.server.host, settings.server.port, count)
    except OSError as error:
        raise StartRefused(
            f"cannot listen on {settings.server.listen}: {error.strerror}. Choose another with --listen."
        ) from error
    health, metrics, attempts = Health(), Metrics(count), Attempts()
    workers = Workers(
        sockets,
        lambda index, own: _work(index, own, settings, health, metrics, attempts),
        uvloop.new_event_loop,
        settings.server.drain.total_seconds(),
        log.warning,
    )
    host, port = sockets[0].getsockname()[:2]
    listen_at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    greet(listen_at)
    log.info("registry_started", listen=listen_at, data=str(settings.storage.data), workers=count)
    code = workers.run()
    log.info("registry_stopped")
    os.close(lock)
    return code


def _raise_file_limit() -> None:
    """As many open files as this process may ask for: each connection is one, each pull another."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
