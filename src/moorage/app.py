"""The wiring: settings in, a running registry out. It knows everybody; nobody but the CLI knows it."""

import asyncio
import fcntl
import gc
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
import uvloop

from moorage import logs
from moorage.api.arrivals import ArrivalLog
from moorage.api.dispatch import Dispatcher
from moorage.api.fronts import Fronts
from moorage.api.gate import Gate
from moorage.api.metrics import Metrics
from moorage.api.operations import Operations
from moorage.api.v2.errors import refuse
from moorage.api.v2.services import Services
from moorage.certificates import keeping
from moorage.certificates.authority import fingerprint
from moorage.certificates.choice import uses_tls
from moorage.certificates.keeping import CertificateRefused, OwnCertificate, find_own
from moorage.certificates.serving import ServerCertificate
from moorage.config import Settings
from moorage.databases import sqlite
from moorage.errors import RegistryError
from moorage.health import Health
from moorage.identity.accounts.attempts import Attempts
from moorage.identity.accounts.passwords import Passwords
from moorage.identity.callers.caller import OPERATOR, Caller
from moorage.identity.callers.callers import Callers
from moorage.identity.federation.exchanging import Exchanges
from moorage.identity.federation.visiting import Visits
from moorage.identity.managing.accounts import make_claim
from moorage.identity.tokens.keys import rotate_if_due
from moorage.issuers.client import HttpIssuers
from moorage.lifecycle.sweep import Sweep
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.repositories.rows import has_repositories
from moorage.registry.uploads.uploading import Uploads
from moorage.server.connection import Connection
from moorage.server.exchange import head
from moorage.server.limits import Limits
from moorage.server.tls import Arrivals, TlsListener, keep_memory
from moorage.server.worker import Worker
from moorage.server.workers import Workers, listen
from moorage.storage.filesystem import FilesystemStore
from moorage.web.routes import PAGES
from moorage.web.trust import TrustPages

_DISK_THREADS = 16
_BACKLOG = 4096
_GARBAGE_EVERY = 20_000
_USES_EVERY_S = 10.0

log = structlog.get_logger()


class StartRefused(Exception):
    """The registry cannot start; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Tls:
    """What certificate there is; `own` is None when the operator brings it."""

    certificate: Path
    key: Path
    own: OwnCertificate | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """What a person is told once the address is taken."""

    at: str
    is_tls: bool
    fingerprint: str | None
    """Of the root certificate that clients are to trust; None when it is not Moorage's."""
    claim: str | None
    """The secret by which the first administrator comes in; None when there is someone already."""


@asynccontextmanager
async def open_registry(
    settings: Settings,
    health: Health,
    metrics: Metrics,
    attempts: Attempts,
    disk_threads: int = _DISK_THREADS,
    trust: TrustPages | None = None,
) -> AsyncIterator[Dispatcher]:
    """The ASGI application of one worker process, its database and threads open until the end."""
    threads = ThreadPoolExecutor(disk_threads, thread_name_prefix="disk")
    opened = _open(settings, health, attempts, threads)
    services = opened.services
    await _make_key(opened.db)
    lock = settings.storage.data / "sweep.lock"
    tasks = [
        asyncio.create_task(Sweep(lock, services.db, services.uploads, opened.second_digests).run()),
        asyncio.create_task(_record_uses(services.callers)),
    ]
    try:
        yield Dispatcher(services, Operations(services, health, metrics, trust), metrics, PAGES)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await opened.close()


@asynccontextmanager
async def open_local(settings: Settings) -> AsyncIterator[Dispatcher]:
    """The ASGI application on a data folder, also while `serve` runs on it: each caller is its operator.

    Opens the database only: nothing is swept, and no one comes in but through this process.
    Raises StartRefused where the folder holds no registry, or one of another version.
    """
    path = settings.storage.database
    if not path.exists():
        raise StartRefused(
            f"no registry in {settings.storage.data} yet; start it once, or name its folder with --data"
        )
    logs.configure(replace(settings.log, level="error"))
    health, metrics = Health(), Metrics(1)
    metrics.claim_row(0)
    try:
        sqlite.check(path)
    except sqlite.DatabaseRefused as refusal:
        raise StartRefused(str(refusal)) from refusal
    threads = ThreadPoolExecutor(1, thread_name_prefix="disk")
    opened = _open(settings, health, Attempts(), threads, operator=OPERATOR)
    try:
        operations = Operations(opened.services, health, metrics, None)
        yield Dispatcher(opened.services, operations, metrics, PAGES)
    finally:
        await opened.close()


@dataclass(frozen=True, slots=True)
class _Opened:
    """What endpoints call, and what has to be closed behind them."""

    services: Services
    db: sqlite.SqliteDatabase
    second_digests: SecondDigests
    issuers: HttpIssuers
    threads: ThreadPoolExecutor

    async def close(self) -> None:
        await self.issuers.close()
        self.services.passwords.close()
        self.threads.shutdown()
        self.db.close()


def _open(
    settings: Settings,
    health: Health,
    attempts: Attempts,
    threads: ThreadPoolExecutor,
    operator: Caller | None = None,
) -> _Opened:
    """Ports and use cases over a data folder. `operator`: who each caller is, where no one else comes in."""
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
        operator=operator,
    )
    blobs = BlobServer(db, store, threads, second_digests)
    issuers = HttpIssuers(settings.oidc)
    exchanges = Exchanges(db, issuers, settings.oidc.trusts, attempts)
    visits = Visits(db, issuers, settings.oidc, has_repositories)
    services = Services(settings, db, store, blobs, uploads, callers, passwords, gate, exchanges, visits)
    return _Opened(services, db, second_digests, issuers, threads)


async def _make_key(db: sqlite.SqliteDatabase) -> None:
    """A key to sign bearer tokens with. Without room for one, what needs no new token goes on."""
    try:
        await rotate_if_due(db)
    except RegistryError as refusal:
        log.warning("key_not_made", reason=str(refusal))


async def _record_uses(callers: Callers) -> None:
    """Now and then, write down which tokens were used; for as long as the worker lives."""
    while True:
        await asyncio.sleep(_USES_EVERY_S)
        try:
            await callers.record_uses()
        except RegistryError as refusal:
            log.warning("token_uses_lost", reason=str(refusal))


@dataclass(frozen=True, slots=True)
class Shared:
    """What is made before the workers are forked, and seen by all of them."""

    health: Health
    metrics: Metrics
    attempts: Attempts


async def _work(index: int, own: socket.socket, settings: Settings, tls: Tls | None, shared: Shared) -> None:
    """One worker process, from its listening socket to the last reply; cancelled when it shall stop."""
    shared.metrics.claim_row(index)
    # what is loaded by now stays: looking through it again and again costs a tenth of a push
    gc.freeze()
    gc.set_threshold(_GARBAGE_EVERY)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_failure)
    trust = None if tls is None else _trust_pages(tls, own)
    async with open_registry(
        settings, shared.health, shared.metrics, shared.attempts, trust=trust
    ) as application:
        worker = Worker(application, _limits(settings), refuse)
        if tls is None:
            server = await loop.create_server(lambda: Connection(worker), sock=own, backlog=_BACKLOG)
            await _serve_until_cancelled(worker, server.close)
            return
        keep_memory()
        certificate = ServerCertificate(tls.certificate, tls.key)
        watching = loop.create_task(certificate.watch())
        listener = TlsListener(own, _arrivals(worker, certificate, ArrivalLog(shared.metrics)))
        await _serve_until_cancelled(worker, listener.close)
        watching.cancel()


def _trust_pages(tls: Tls, own: socket.socket) -> TrustPages:
    certificate = tls.own
    if certificate is None:
        return TrustPages(_address_of(own), None)

    # as it is when it is asked for: it may have been renewed
    return TrustPages(_address_of(own), lambda: certificate.read_authority().der)


def _address_of(own: socket.socket) -> str:
    host, port = own.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _serve_until_cancelled(worker: Worker, close: Callable[[], None]) -> None:
    try:
        await worker.watch()
    finally:
        close()
        await worker.stop()


def _arrivals(worker: Worker, certificate: ServerCertificate, said: ArrivalLog) -> Arrivals:
    def answer_plain(client: str) -> bytes:
        status, headers, body = said.refuse_plain(client)
        return head(status, headers, worker.date(), is_kept=False) + body

    return Arrivals(worker, lambda: certificate.context, answer_plain, said.handshake_failed)


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


def prepare_tls(settings: Settings) -> tuple[Tls, str | None]:
    """The certificate, made if it has to be; and the fingerprint of Moorage's own root.

    Raises StartRefused.
    """
    brought, key = settings.tls.certificate, settings.tls.key
    try:
        if brought is not None and key is not None:
            ServerCertificate(brought, key)
            return Tls(brought, key), None
        own = find_own(settings.storage.data, settings.tls.names)
        root = own.prepare()
        tls = Tls(own.server_path, own.server_path, own)
        ServerCertificate(tls.certificate, tls.key)
        return tls, fingerprint(root.certificate)
    except CertificateRefused as refusal:
        raise StartRefused(str(refusal)) from refusal
    except OSError as error:
        raise StartRefused(
            f"cannot write the certificate to {settings.storage.data}: {error.strerror}. Mend the folder."
        ) from error


async def _make_claim(settings: Settings) -> str | None:
    """The secret by which the first administrator comes in; None when there is someone already."""
    db = sqlite.SqliteDatabase(settings.storage.database, Health())
    try:
        return await make_claim(db)
    finally:
        db.close()


def _chore(tls: Tls | None) -> Callable[[], None]:
    """What the parent does once a minute: look after its own certificate."""
    if tls is None or tls.own is None:
        return lambda: None
    own, due = tls.own, time.monotonic() + keeping.EVERY_S

    def keep() -> None:
        nonlocal due
        if time.monotonic() >= due:
            own.keep()
            due = time.monotonic() + keeping.EVERY_S

    return keep


def serve(settings: Settings, greet: Callable[[Started], None]) -> int:
    """Serve until SIGTERM or SIGINT; requests under way may end first. The process's exit code.

    `greet` is told once the address is taken.

    Raises StartRefused.
    """
    logs.configure(settings.log)
    lock = prepare(settings)
    _raise_file_limit()
    tls, root = prepare_tls(settings) if uses_tls(settings) else (None, None)
    claim = None if settings.server.is_local else asyncio.run(_make_claim(settings))
    count = settings.server.worker_count
    try:
        sockets = listen(settings.server.host, settings.server.port, count)
    except OSError as error:
        raise StartRefused(
            f"cannot listen on {settings.server.listen}: {error.strerror}. Choose another with --listen."
        ) from error
    shared = Shared(Health(), Metrics(count), Attempts())
    workers = Workers(
        sockets,
        lambda index, own: _work(index, own, settings, tls, shared),
        uvloop.new_event_loop,
        settings.server.drain.total_seconds(),
        log.warning,
        _chore(tls),
    )
    listen_at = _address_of(sockets[0])
    greet(Started(listen_at, tls is not None, root, claim))
    log.info(
        "registry_started",
        listen=listen_at,
        data=str(settings.storage.data),
        workers=count,
        tls=tls is not None,
    )
    if tls is None and not settings.server.is_loopback:
        log.warning("serving_insecure_http", listen=listen_at)
    code = workers.run()
    log.info("registry_stopped")
    os.close(lock)
    return code


def _raise_file_limit() -> None:
    """As many open files as this process may ask for: each connection is one, each pull another."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
