"""`moorage serve` as processes: a parent that prepares and watches, workers that answer.

serve -> prepare (app.py) -> the certificate -> the claim, if no one can sign in yet -> listen
-> fork the workers (server/workers.py) -> each opens the registry (app.py) and serves its socket;
   one more runs jobs (working.py)
"""

import asyncio
import gc
import os
import resource
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop

from moorage import logs
from moorage.api.arrivals import ArrivalLog
from moorage.api.metrics import Metrics
from moorage.api.v2.errors import refuse
from moorage.app import StartRefused, open_registry, prepare
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
from moorage.identity.accounts.passwords import Turns
from moorage.identity.managing.accounts import make_claim
from moorage.server.connection import Connection
from moorage.server.exchange import head
from moorage.server.limits import Limits
from moorage.server.tls import Arrivals, TlsListener, keep_memory
from moorage.server.worker import Worker
from moorage.server.workers import Beside, Workers, listen
from moorage.web.trust import TrustPages
from moorage.working import work

_BACKLOG = 4096
_GARBAGE_EVERY = 20_000

log = structlog.get_logger()


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


@dataclass(frozen=True, slots=True)
class Shared:
    """What is made before the workers are forked, and seen by all of them."""

    health: Health
    metrics: Metrics
    attempts: Attempts
    turns: Turns


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
    shared = Shared(Health(), Metrics(count), Attempts(), Turns())
    workers = Workers(
        sockets,
        lambda index, own: _work(index, own, settings, tls, shared),
        uvloop.new_event_loop,
        settings.server.drain.total_seconds(),
        log.warning,
        _chore(tls),
        Beside(b"moorage-jobs", lambda: work(settings, shared.health)) if settings.jobs.beside else None,
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
    """The secret by which the first administrator comes in; None when there is someone already.

    Raises StartRefused.
    """
    db = sqlite.SqliteDatabase(settings.storage.database, Health())
    try:
        return await make_claim(db)
    except RegistryError as refusal:
        raise StartRefused(f"no one could sign in: {refusal}. Make room on the disk.") from refusal
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
        settings, shared.health, shared.metrics, shared.attempts, trust=trust, turns=shared.turns
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
